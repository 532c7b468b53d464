"""Sticky events (MSC4354) between servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.room_copy import NOW_TS, Fields
from tests.federation.sides import Side, room_of, side, until
from tests.homeserver.calls.test_sticky_events import FIELD, TTL, stick, talk, told
from tests.patience import LONG_POLL_MS

STICKY: dict[str, Any] = {FIELD: {"duration_ms": 1_800_000}}


@pytest_asyncio.fixture
async def scene(database_url: str, tmp_path: Path, authority: Authority) -> AsyncIterator[Scene]:
    async with Setting(database_url, tmp_path, authority).scene() as made:
        yield made


@pytest_asyncio.fixture
async def sides(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> AsyncIterator[tuple[Side, Side]]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        first, second = [
            await stack.enter_async_context(side(cluster, authority, tmp_path / name, session))
            for name in ("a", "b")
        ]
        yield first, second


def sticky_from_elsewhere(scene: Scene, text: str, **more: Any) -> Fields:
    """A sticky message of the other server's user."""
    return scene.room.event(content={"msgtype": "m.text", "body": text}, **STICKY, **more)


async def test_others_are_told_and_whoever_comes_in_later_too(sides: tuple[Side, Side]) -> None:
    first, second = sides
    alice, bob = await first.user("alice"), await second.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    before = await stick(alice, room_id, "before bob came")
    await talk(alice, room_id, 25)
    (await bob.post(f"v3/join/{quote(room_id)}", {}, server_name=first.name)).ok()
    late = await until_told(bob, room_id, before)
    assert [event["event_id"] for event in late] == [before]
    assert late[0][FIELD] == {"duration_ms": 1_800_000}
    assert 0 < late[0]["unsigned"][TTL] <= 1_800_000
    after = await stick(alice, room_id, "while bob is here")

    def in_timeline(answer: Any) -> list[Any]:
        events = room_of(answer, room_id).get("timeline", {}).get("events", [])
        return [event for event in events if event["event_id"] == after]

    (live,) = await until(bob, in_timeline)
    assert 0 < live["unsigned"][TTL] <= 1_800_000


async def until_told(client: Any, room_id: str, event_id: str) -> list[dict[str, Any]]:
    """The sticky event, once the client is told of it outside of the timeline or in it."""

    def find(answer: Any) -> list[dict[str, Any]]:
        room = room_of(answer, room_id)
        events = room.get(FIELD, {}).get("events", [])
        events += room.get("timeline", {}).get("events", [])
        return [event for event in events if event["event_id"] == event_id]

    found: list[dict[str, Any]] = await until(client, find)
    return found


async def test_what_the_state_forbids_is_told_once_it_allows_it(scene: Scene) -> None:
    room, alice = scene.room, scene.alice
    fork = list(room.tips)
    since = (await alice.sync())["next_batch"]
    kick = {"user_id": room.user()}
    (await alice.post(f"v3/rooms/{quote(scene.room_id)}/kick", kick)).ok()
    sticky = sticky_from_elsewhere(scene, "from before the kick", prev=fork)
    await scene.sent(sticky)
    event_id = room.id_of(sticky)
    assert await scene.standing(event_id) == 1
    answer = await alice.sync(since)
    assert told(answer, scene.room_id) == []
    await scene.hostile.join(scene.room_id)
    found = await until_sticky(alice, answer["next_batch"], scene.room_id)
    assert found == [event_id]


async def test_what_is_forbidden_is_remembered_over_a_restart(scene: Scene) -> None:
    room = scene.room
    fork = list(room.tips)
    kick = {"user_id": room.user()}
    (await scene.alice.post(f"v3/rooms/{quote(scene.room_id)}/kick", kick)).ok()
    sticky = sticky_from_elsewhere(scene, "from before the kick", prev=fork)
    await scene.sent(sticky)
    await scene.restart()
    since = (await scene.alice.sync())["next_batch"]
    await scene.hostile.join(scene.room_id)
    assert await until_sticky(scene.alice, since, scene.room_id) == [room.id_of(sticky)]


async def until_sticky(client: Any, since: str, room_id: str) -> list[str]:
    """The sticky events that the client is told of next."""
    while True:
        answer = await client.sync(since, timeout_ms=LONG_POLL_MS)
        found = told(answer, room_id)
        if found:
            return found
        since = answer["next_batch"]


async def test_a_time_to_come_makes_nothing_sticky_for_longer(scene: Scene) -> None:
    future = NOW_TS + 600_000
    sticky = sticky_from_elsewhere(scene, "from the future", origin_server_ts=future)
    scene.room.take(sticky)
    await scene.sent(sticky)
    path = f"v3/rooms/{quote(scene.room_id)}/event/{scene.room.id_of(sticky)}"
    event = (await scene.alice.get(path)).ok()
    assert 0 < event["unsigned"][TTL] <= 1_800_000


async def test_wrong_durations_make_nothing_sticky(scene: Scene) -> None:
    durations = (-1, 3_600_001, True)
    for wrong in ({}, *({"duration_ms": duration} for duration in durations), 5):
        sticky: dict[str, Any] = {FIELD: wrong}
        fields = scene.room.event(content={"body": "x"}, **sticky)
        scene.room.take(fields)
        await scene.sent(fields)
        path = f"v3/rooms/{quote(scene.room_id)}/event/{scene.room.id_of(fields)}"
        assert TTL not in (await scene.alice.get(path)).ok()["unsigned"]
    await talk(scene.alice, scene.room_id)
    assert told(await scene.alice.sync(), scene.room_id) == []
