"""A room whose history has gaps here: what is shown above them, and how they are filled."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from homeserver.rooms.held import MOST_HELD
from tests.federation.certificates import Authority
from tests.federation.hostile.far_peer import FarPeer
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.room_copy import Fields
from tests.federation.sides import room_of
from tests.homeserver.conftest import Client

TOLD = 10
"""Events before a new one that the far server tells at once."""


@pytest_asyncio.fixture
async def scene(database_url: str, tmp_path: Path, authority: Authority) -> AsyncIterator[Scene]:
    async with Setting(database_url, tmp_path, authority).scene() as made:
        yield made


async def leave_gap(scene: Scene, *said: Fields) -> list[str]:
    """Have our server get the last of these events, and at once only a few of those before."""
    far, room = scene.hostile, scene.room
    far.answers["get_missing_events"] = {"events": list(said[-1 - TOLD : -1])}
    assert await scene.sent(said[-1]) == {room.id_of(said[-1]): {}}
    return [room.id_of(fields) for fields in said]


def many(scene: Scene, count: int) -> list[Fields]:
    return scene.room.say(*(f"far {n}" for n in range(count)))


async def timeline(client: Client, room_id: str, since: str | None, limit: int = 20) -> Any:
    wanted = f'{{"room": {{"timeline": {{"limit": {limit}}}}}}}'
    answer = await client.sync(since, filter=wanted)
    return room_of(answer, room_id)["timeline"] | {"next_batch": answer["next_batch"]}


def ids(events: Any) -> list[str]:
    return [event["event_id"] for event in events]


async def page_back(client: Client, room_id: str, start: str, limit: int = 100) -> list[str]:
    """All that is before a place, the latest first."""
    found: list[str] = []
    token: str | None = start
    while token is not None:
        path = f"v3/rooms/{room_id}/messages"
        page = (await client.get(path, dir="b", limit=limit, **{"from": token})).ok()
        found += ids(page["chunk"])
        token = page.get("end")
    return found


def asked(far: FarPeer, what: str) -> int:
    return sum(f"/{what}/" in path for path in far.asked)


@pytest.mark.parametrize("limit", [7, 100])
async def test_a_timeline_begins_above_a_gap_and_paging_back_fills_it(
    scene: Scene, limit: int
) -> None:
    alice, room_id = scene.alice, scene.room_id
    since = (await alice.sync())["next_batch"]
    hello = await alice.send(room_id, "before the gap")
    said = await leave_gap(scene, *many(scene, 150))
    for token in (since, None):
        shown = await timeline(alice, room_id, token)
        assert shown["limited"]
        assert ids(shown["events"]) == said[-1 - TOLD :]
    shown = await timeline(alice, room_id, since)
    older = await page_back(alice, room_id, shown["prev_batch"], limit)
    assert [i for i in older if i in said] == said[-2 - TOLD :: -1]
    assert len(older) == len(set(older))
    assert hello in older
    assert (await page_back(alice, room_id, shown["prev_batch"], limit)) == older
    whole = await timeline(alice, room_id, since, 500)
    assert not whole["limited"] or set(ids(whole["events"])) >= {hello, *said[-1 - TOLD :]}


async def test_a_client_that_keeps_up_is_shown_the_gap(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room_id
    since = (await alice.sync())["next_batch"]
    await alice.send(room_id, "before the gap")
    said = await leave_gap(scene, *many(scene, 30))
    shown = await timeline(alice, room_id, since)
    assert shown["limited"]
    assert ids(shown["events"]) == said[-1 - TOLD :]
    last = await alice.send(room_id, "after the gap")
    shown = await timeline(alice, room_id, shown["next_batch"])
    assert (shown["limited"], ids(shown["events"])) == (False, [last])


async def test_nobody_is_asked_twice_in_a_row_for_what_nobody_has(scene: Scene) -> None:
    alice, room_id, far = scene.alice, scene.room_id, scene.hostile
    hello = await alice.send(room_id, "before the gap")
    said = await leave_gap(scene, *many(scene, 30))
    far.answers["backfill"] = (404, {"errcode": "M_NOT_FOUND", "error": "no"})
    shown = await timeline(alice, room_id, None)
    for _ in range(2):
        older = await page_back(alice, room_id, shown["prev_batch"])
        assert hello in older
        assert not set(older) & set(said)
    assert asked(far, "backfill") == 1


async def test_state_that_changed_in_a_gap_is_told(scene: Scene) -> None:
    alice, room_id, room = scene.alice, scene.room_id, scene.room
    since = (await alice.sync())["next_batch"]
    name = room.event("m.room.member", {"membership": "join", "displayname": "Rem"}, room.user())
    room.take(name)
    await leave_gap(scene, name, *many(scene, 30))
    answer = await alice.sync(since)
    told = room_of(answer, room_id)["state"]["events"]
    assert room.id_of(name) in ids(told)


async def test_a_server_has_to_tell_what_its_event_follows(scene: Scene) -> None:
    room, far = scene.room, scene.hostile
    _lost, last = room.say("lost", "last")
    far.answers["get_missing_events"] = {"events": []}
    assert await scene.refusal_of(last)
    assert asked(far, "state_ids") == 0
    await scene.assert_healthy()


async def test_what_follows_events_that_cannot_be_judged_is_kept_until_it_can_be(
    scene: Scene,
) -> None:
    room, far = scene.room, scene.hostile
    beside = room.event()
    name = room.event("m.room.member", {"membership": "join", "displayname": "Rem"}, room.user())
    (name_id,) = room.take(name)
    _, told, last = room.say("lost", "told", "last")
    far.answers |= {
        "get_missing_events": {"events": [told]},
        f"event/{name_id}": (404, {"errcode": "M_NOT_FOUND", "error": "no"}),
        "event_auth": {"auth_chain": []},
    }
    assert await scene.sent(last) == {room.id_of(last): {}}
    assert [await scene.standing(room.id_of(one)) for one in (told, last)] == [None, None]
    assert asked(far, "get_missing_events") == 1
    await scene.assert_healthy()
    await scene.restart()
    far.answers.clear()
    assert await scene.sent(beside) == {room.id_of(beside): {}}
    assert [await scene.standing(room.id_of(one)) for one in (told, last)] == [0, 0]
    assert not await scene.homes.services.db.fetch("SELECT 1 FROM held_events")


async def test_what_cannot_be_judged_is_kept_only_so_far(scene: Scene) -> None:
    room, far = scene.room, scene.hostile
    name = room.event("m.room.member", {"membership": "join", "displayname": "Rem"}, room.user())
    (name_id,) = room.take(name)
    _, told = room.say("lost", "told")
    far.answers |= {
        "get_missing_events": {"events": [told]},
        f"event/{name_id}": (404, {"errcode": "M_NOT_FOUND", "error": "no"}),
        "event_auth": {"auth_chain": []},
    }
    refused = 0
    for _ in range(3):
        batch = [room.event(prev=[room.id_of(told)]) for _ in range(40)]
        refused += sum("error" in answer for answer in (await scene.sent(*batch)).values())
    assert refused == 3 * 40 - MOST_HELD


async def test_what_fills_a_gap_is_handed_on_along_the_graph(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room_id
    said = await leave_gap(scene, *many(scene, 30))
    shown = await timeline(alice, room_id, None)
    await page_back(alice, room_id, shown["prev_batch"])
    answer = await scene.honest.get(f"backfill/{room_id}", v=said[-1], limit=100)
    found = [scene.room.id_of(fields) for fields in answer.ok()["pdus"]]
    assert [i for i in found if i in said] == said[::-1]


async def test_an_event_in_a_gap_is_found_by_its_time(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room_id
    events = many(scene, 60)
    said = await leave_gap(scene, *events)
    path = f"v1/rooms/{room_id}/timestamp_to_event"
    for at, direction in ((30, "f"), (40, "b")):
        ts = events[at]["origin_server_ts"]
        found = (await alice.get(path, ts=ts, dir=direction)).ok()
        assert found == {"event_id": said[at], "origin_server_ts": ts}
        context = (await alice.get(f"v3/rooms/{room_id}/context/{said[at]}", limit=0)).ok()
        older = await page_back(alice, room_id, context["end"])
        assert [i for i in older if i in said] == said[at::-1]
    shown = await timeline(alice, room_id, None)
    older = await page_back(alice, room_id, shown["prev_batch"])
    assert [i for i in older if i in said] == said[-2 - TOLD :: -1]


async def test_a_redaction_is_applied_to_what_comes_after_it(scene: Scene) -> None:
    alice, room_id, room = scene.alice, scene.room_id, scene.room
    secret, kept, *others = many(scene, 30)
    redacts = room.id_of(secret)
    redaction = room.event("m.room.redaction", {"redacts": redacts, "reason": "oops"})
    room.take(redaction)
    await leave_gap(scene, secret, kept, *others, redaction)
    shown = await timeline(alice, room_id, None)
    await page_back(alice, room_id, shown["prev_batch"])
    found = (await alice.get(f"v3/rooms/{room_id}/event/{redacts}")).ok()
    assert found["content"] == {}
    assert found["unsigned"]["redacted_because"]["event_id"] == room.id_of(redaction)
    other = (await alice.get(f"v3/rooms/{room_id}/event/{room.id_of(kept)}")).ok()
    assert other["content"] == kept["content"]


async def test_what_comes_late_is_shown_when_it_comes_and_pages_have_the_rest_once(
    scene: Scene,
) -> None:
    alice, room_id, room = scene.alice, scene.room_id, scene.room
    since = (await alice.sync())["next_batch"]
    early = [await alice.send(room_id, f"early {n}") for n in range(4)]
    (late,) = room.say("late")
    assert "error" not in (await scene.sent(late))[room.id_of(late)]
    last = [await alice.send(room_id, f"last {n}") for n in range(3)]
    shown = await timeline(alice, room_id, since, 4)
    assert (shown["limited"], ids(shown["events"])) == (True, [room.id_of(late), *last])
    older = await page_back(alice, room_id, shown["prev_batch"], 3)
    assert older[:4] == early[::-1]
    assert len(older) == len(set(older))
    assert not set(older) & set(ids(shown["events"]))
    at_first = await timeline(alice, room_id, None, 4)
    assert ids(at_first["events"]) == [early[-1], *last]
    older = await page_back(alice, room_id, at_first["prev_batch"], 3)
    assert room.id_of(late) in older
