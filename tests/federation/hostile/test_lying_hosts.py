"""A server that we ask to let us into its room, and that lies about it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from federation.protocol.identifiers import EventId
from tests.federation.hostile.far_peer import json_answer
from tests.federation.hostile.health import Scene
from tests.federation.hostile.room_copy import NOW_TS, Fields, RoomCopy, empty_copy
from tests.homeserver.conftest import Answer

VERSION = "11"


def found_room(scene: Scene, version_id: str = VERSION) -> RoomCopy:
    """A room of the hostile server, open to all."""
    server = scene.hostile
    room = empty_copy(f"!its:{server.name}", version_id, server.name, server.key)
    server.rooms[room.room_id] = room
    owner = room.user()
    room.take(
        room.event("m.room.create", {"room_version": version_id}, "", prev=[], auth=[], depth=1)
    )
    for event_type, content, state_key in (
        ("m.room.member", {"membership": "join"}, owner),
        ("m.room.power_levels", {"users": {owner: 100}}, ""),
        ("m.room.join_rules", {"join_rule": "public"}, ""),
    ):
        room.take(room.event(event_type, content, state_key))
    return room


def template(scene: Scene, room: RoomCopy, **changes: Any) -> dict[str, Any]:
    """An honest answer to /make_join, but for the changes to its event."""
    join = room.event("m.room.member", {"membership": "join"}, scene.alice.user_id)
    places = (("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", ""))
    event = {k: v for k, v in join.items() if k not in ("hashes", "signatures")}
    event |= {"sender": scene.alice.user_id, "auth_events": [room.state[p] for p in places]}
    return {"room_version": room.version.id, "event": {**event, **changes}}


def told(room: RoomCopy, **changes: Any) -> dict[str, Any]:
    """An honest answer to /send_join, but for the changes."""
    state = [room.events[i] for i in room.state.values()]
    chain = [room.events[i] for i in room.auth_chain(room.state.values())]
    return {"state": state, "auth_chain": chain, "members_omitted": False, **changes}


async def try_to_join(scene: Scene, room: RoomCopy) -> Answer:
    path = f"v3/join/{quote(room.room_id, safe='')}"
    return await scene.alice.post(path, server_name=scene.hostile.name)


async def test_an_honest_host_lets_us_in(scene: Scene) -> None:
    room = found_room(scene)
    scene.hostile.answers |= {"make_join": template(scene, room), V2: told(room)}
    (await try_to_join(scene, room)).ok()
    events = (await scene.alice.get(f"v3/rooms/{quote(room.room_id)}/state")).ok()
    assert {one["type"] for one in events} >= {"m.room.create", "m.room.power_levels"}
    await scene.assert_healthy()


V2 = "/_matrix/federation/v2/send_join"


async def test_templates_that_lie(scene: Scene) -> None:
    """What we sign is a join of our user into that room, whatever we are told to sign."""
    room = found_room(scene)
    cases: dict[str, dict[str, Any]] = {
        "another user": {"sender": "@victim:test", "state_key": "@victim:test"},
        "another room": {"room_id": scene.room_id},
        "another membership": {"content": {"membership": "ban", "reason": "x"}},
        "another type": {"type": "m.room.power_levels", "redacts": "$x"},
    }
    for name, changes in cases.items():
        scene.hostile.answers |= {"make_join": template(scene, room, **changes), V2: (403, {})}
        scene.hostile.received.clear()
        await try_to_join(scene, room)
        (join,) = [json.loads(b) for path, b in scene.hostile.received if "send_join" in path]
        assert (join["room_id"], join["type"]) == (room.room_id, "m.room.member"), name
        assert join["sender"] == join["state_key"] == scene.alice.user_id, name
        assert join["content"].get("membership") == "join", name
        assert join["content"].keys() <= {"membership", "displayname", "avatar_url"}, name
        assert "redacts" not in join, name
    await scene.assert_healthy(most_lines=40)


async def test_templates_that_make_no_event(scene: Scene) -> None:
    room = found_room(scene)
    good = template(scene, room)
    cases: dict[str, Any] = {
        "no event": {"room_version": VERSION},
        "a list": {"room_version": VERSION, "event": []},
        "no references": template(scene, room, prev_events=None, auth_events=7),
        "too many": template(scene, room, prev_events=[f"$p{n}" for n in range(500)]),
        "depth": template(scene, room, depth="deep"),
        "a version of nobody": {**good, "room_version": "org.example.99"},
        "a version that is none": {**good, "room_version": 11},
        "NULs": template(scene, room, prev_events=["$\0"]),
        "a text": "x",
    }
    for name, answer in cases.items():
        scene.hostile.answers |= {"make_join": answer, V2: told(room)}
        refusal = await try_to_join(scene, room)
        assert refusal.status in (400, 403, 404, 502), (name, refusal)
    await scene.assert_healthy(most_lines=40)


def lies(scene: Scene, room: RoomCopy) -> dict[str, dict[str, Any]]:
    """Answers to /send_join that do not hold."""
    state = [room.events[i] for i in room.state.values()]
    create = room.events[room.state["m.room.create", ""]]
    without: Callable[[str], list[Fields]] = lambda t: [e for e in state if e["type"] != t]  # noqa: E731
    ours = scene.hostile.rooms[scene.room_id]
    forged = room.event("m.room.create", {"room_version": "6"}, "", prev=[], auth=[], depth=1)
    closed = room.event("m.room.join_rules", {"join_rule": "invite"}, "")
    return {
        "nothing": told(room, state=[], auth_chain=[]),
        "no creation": told(
            room, state=without("m.room.create"), auth_chain=without("m.room.create")
        ),
        "another room": told(room, state=list(ours.events.values()), auth_chain=[]),
        "a creation of another version": told(
            room, state=[forged, *without("m.room.create")], auth_chain=[forged]
        ),
        "a forged creation": told(
            room, state=[{**create, "sender": "@other:x.example"}], auth_chain=[]
        ),
        "a state that lets nobody in": told(room, state=[*without("m.room.join_rules"), closed]),
        "no vouchers": told(
            room, state=without("m.room.power_levels"), auth_chain=without("m.room.power_levels")
        ),
        "garbage": told(room, state=[{}, {"type": 7}, {"content": []}], auth_chain=[{}]),
        "numbers": {"state": [7], "auth_chain": [7]},
    }


async def test_answers_that_lie_let_us_into_nothing(scene: Scene) -> None:
    room = found_room(scene)
    scene.hostile.answers["make_join"] = template(scene, room)
    for name, answer in lies(scene, room).items():
        scene.hostile.answers[V2] = answer
        refusal = await try_to_join(scene, room)
        assert refusal.status in (400, 403, 404, 502), (name, refusal)
        assert room.room_id not in (await scene.alice.get("v3/joined_rooms")).ok()["joined_rooms"]
    scene.hostile.answers[V2] = told(room)
    (await try_to_join(scene, room)).ok()
    await scene.assert_healthy(most_lines=40)


async def test_what_does_not_hold_in_a_state_is_left_out(scene: Scene) -> None:
    """Forged members, duplicates and garbage beside a state that holds."""
    room = found_room(scene)
    bogus = [
        {**room.event("m.room.member", {"membership": "join"}, f"@m{n}:x.example"),
         "sender": f"@m{n}:{room.server}"}
        for n in range(5_000)
    ]  # fmt: skip
    state = told(room)["state"]
    answer = told(room, state=[*state, *bogus, *state, {}, {"type": "m.room.member"}])
    scene.hostile.answers |= {"make_join": template(scene, room), V2: answer}
    (await try_to_join(scene, room)).ok()
    members = (await scene.alice.get(f"v3/rooms/{quote(room.room_id)}/joined_members")).ok()
    assert members["joined"].keys() == {room.user(), scene.alice.user_id}
    await scene.assert_healthy(most_lines=40)


async def test_our_join_comes_back_as_we_made_it(scene: Scene) -> None:
    """Another event in its place is not taken for it."""
    room = found_room(scene)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        join = json.loads(scene.hostile.received[-1][1])
        changed = {**join, "depth": 1, "prev_events": [], "origin_server_ts": NOW_TS - 10**9}
        return json_answer(told(room, event=changed))

    scene.hostile.answers |= {"make_join": template(scene, room), V2: answer}
    (await try_to_join(scene, room)).ok()
    path = f"v3/rooms/{quote(room.room_id)}/state/m.room.member/{scene.alice.user_id}"
    event = (await scene.alice.get(path, format="event")).ok()
    kept = await scene.homes.services.db.fetchval(
        "SELECT json FROM events WHERE event_id = $1", EventId(event["event_id"])
    )
    assert json.loads(kept)["prev_events"] == room.tips
    await scene.assert_healthy(most_lines=40)


@pytest.mark.parametrize("shown", [[{"a": "x" * 400_000}] * 20, [{}] * 5_000, ["x"], 7])
async def test_what_a_room_shows_to_those_who_knock_is_held_to_a_measure(
    scene: Scene, shown: Any
) -> None:
    room = found_room(scene)
    scene.hostile.answers |= {
        "make_knock": template(scene, room),
        "send_knock": {"knock_room_state": shown},
    }
    path = f"v3/knock/{quote(room.room_id, safe='')}"
    answer = await scene.alice.post(path, server_name=scene.hostile.name)
    assert answer.status in (200, 400, 403, 502)
    sync = await scene.alice.sync()
    assert len(json.dumps(sync)) < 1_000_000
    await scene.assert_healthy(most_lines=40)


async def bodies_of_history(scene: Scene, room: RoomCopy) -> list[str]:
    """What our user finds when they page back to the beginning."""
    path, bodies = f"v3/rooms/{quote(room.room_id)}/messages", list[str]()
    since: dict[str, Any] = {}
    for _ in range(5):
        page = (await scene.alice.get(path, dir="b", limit=50, **since)).ok()
        bodies += [one["content"].get("body", "") for one in page["chunk"]]
        if "end" not in page:
            break
        since = {"from": page["end"]}
    return [body for body in bodies if body]


async def test_a_history_that_lies_is_not_shown(scene: Scene) -> None:
    room = found_room(scene)
    said = room.say("first", "second")
    scene.hostile.answers |= {"make_join": template(scene, room), V2: told(room)}
    (await try_to_join(scene, room)).ok()
    stray = room.event(content={"body": "stray"}, prev=[room.state["m.room.create", ""]])
    forged = {**said[0], "content": {"body": "forged"}}
    intruder = room.event(
        content={"body": "intruder"}, sender=room.user("never joined"), prev=room.tips
    )
    loose = room.event(content={"body": "loose"}, prev=["$nowhere"])
    lies: list[Any] = [
        {},
        {"pdus": 7},
        {"pdus": [7]},
        {"pdus": [{}]},
        {"pdus": [stray, loose, intruder]},
        {"pdus": scene.room.say("of another room")},
    ]
    for lie in lies:
        scene.hostile.answers["backfill"] = lie
        assert await bodies_of_history(scene, room) == [], lie
    scene.hostile.answers["backfill"] = {"pdus": [said[1], forged, stray, intruder]}
    assert await bodies_of_history(scene, room) in ([], ["second"])
    await scene.assert_healthy(most_lines=80)
