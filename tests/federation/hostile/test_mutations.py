"""True transactions and answers, changed at random places, are no failure of our server."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from tests.federation.hostile.far_peer import FarPeer
from tests.federation.hostile.health import Scene
from tests.federation.hostile.room_copy import Fields

ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 7, 2**53, 2**63, 2**70, 1.5, 1e300, "", "x", "\0", "é" * 200, "$x", "@x:y",
    "!x:y", [], [[]], [7], ["x", "x"], [["$x", {}]], {}, {"x": {}}, {"": 7}, {"\0": "\0"},
)  # fmt: skip


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers in a value with their keys or indices."""
    found = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(found):
        yield value, key
        if isinstance(child, dict | list):
            yield from places_in(child)


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy of the value with a few changes."""
    changed = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(places_in(changed))
        if not places:
            break
        container, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[chance.choice(("x", "\0", "room_id", "state_key"))] = container.pop(key)
            case 2:
                other, other_key = chance.choice(places)
                container[key] = (
                    copy.deepcopy(other.get(other_key))
                    if isinstance(other, dict)
                    else chance.choice(ODD_VALUES)
                )
            case _:
                container[key] = copy.deepcopy(chance.choice(ODD_VALUES))
    return changed


def events_of(scene: Scene) -> list[Fields]:
    """One event of many kinds, as the hostile server would send them."""
    room = scene.room
    me, content = room.user(), {"membership": "join", "displayname": "x"}
    return [
        room.event(),
        room.event("m.room.member", content, me),
        room.event("m.room.redaction", {"redacts": room.tips[0]}),
        room.event("m.room.topic", {"topic": "x"}, ""),
        room.event("m.room.message", {"m.relates_to": {"rel_type": "m.thread", "event_id": "$x"}}),
        room.event("m.room.power_levels", {"users": {me: 100}}, ""),
        room.event("m.room.server_acl", {"allow": ["*"]}, ""),
        room.event(prev=["$unknown"]),
    ]


def edus_of(scene: Scene) -> list[Any]:
    """EDUs of all kinds."""
    me, alice = scene.room.user(), scene.alice
    device = {"user_id": me, "device_id": "D", "stream_id": 3, "prev_id": [], "keys": {}}
    receipt = {scene.room_id: {"m.read": {me: {"event_ids": ["$x"], "data": {"ts": 5}}}}}
    messages = {alice.user_id: {"*": {"x": 1}}}
    return [
        {"edu_type": "m.typing",
         "content": {"room_id": scene.room_id, "user_id": me, "typing": True}},
        {"edu_type": "m.receipt", "content": receipt},
        {"edu_type": "m.presence",
         "content": {"push": [{"user_id": me, "presence": "online", "last_active_ago": 5}]}},
        {"edu_type": "m.direct_to_device",
         "content": {"sender": me, "type": "t", "message_id": "m", "messages": messages}},
        {"edu_type": "m.device_list_update", "content": device},
        {"edu_type": "m.signing_key_update", "content": {"user_id": me, "master_key": {}}},
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_transactions_changed_at_random(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    scene.hostile.answers |= {"get_missing_events": (404, {}), "state_ids": (404, {})}
    for number in range(60):
        pdus = events_of(scene)
        if chance.random() < 0.7:
            pdus = [scene.room.seal(p) if "content" in p else p for p in sealed(pdus, chance)]
        body = {"pdus": pdus, "edus": edus_of(scene)}
        body = mutated(body, chance) if chance.random() < 0.7 else body
        answer = await scene.hostile.put_bytes(f"send/m{number}", scene.hostile.encoded(body))
        assert answer.status in (200, 400), (answer, json.dumps(body)[:2_000])
    scene.hostile.answers.clear()
    await client_endpoints_answer(scene)
    scene.expected = await scene.state()
    assert scene.expected["m.room.power_levels", ""] != ""
    await scene.assert_healthy(most_lines=2_000)


def sealed(pdus: list[Fields], chance: random.Random) -> list[Fields]:
    """The events with changes that are then signed, so that they get past the signatures."""
    signed = []
    for fields in pdus:
        names = ("content", "depth", "origin_server_ts", "prev_events", "auth_events", "type")
        part = mutated({n: fields[n] for n in names}, chance)
        kept = {k: v for k, v in fields.items() if k not in names}
        changed = {**kept, **{k: v for k, v in part.items() if k in names}}
        signed.append(changed if isinstance(changed.get("content"), dict) else fields)
    return signed


async def client_endpoints_answer(scene: Scene) -> None:
    """Whatever has come into the room, its users can read it."""
    room = f"v3/rooms/{scene.room_id}"
    for path in (
        f"{room}/state",
        f"{room}/members",
        f"{room}/joined_members",
        f"{room}/messages",
        f"{room}/initialSync",
        f"v1/rooms/{scene.room_id}/hierarchy",
        f"v1/rooms/{scene.room_id}/threads",
        "v3/publicRooms",
        "v3/sync",
    ):
        answer = await scene.alice.get(path, **({"dir": "b"} if "messages" in path else {}))
        assert answer.status == 200, (path, answer)


@pytest.mark.parametrize("seed", range(2))
async def test_answers_changed_at_random(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    truth = FarPeer._truth

    async def lie(request: web.BaseRequest) -> web.StreamResponse:
        answer = truth(scene.hostile, request.path, request, await request.read())
        body = mutated(answer, chance) if isinstance(answer, dict) else {}
        return web.Response(text=json.dumps(body), content_type="application/json")

    for _ in range(40):
        scene.room.take(scene.room.event("org.example", {"n": scene.room.made}, ""))
        _, last = scene.room.say("lost", "last")
        asked = ("get_missing_events", "state_ids", "state", "event/", "event_auth")
        scene.hostile.answers = dict.fromkeys(asked, lie)
        await scene.sent(last)
    scene.hostile.answers.clear()
    await client_endpoints_answer(scene)
    scene.expected = await scene.state()
    await scene.assert_healthy(most_lines=2_000)
