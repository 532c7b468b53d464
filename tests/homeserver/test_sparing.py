"""What a server leaves out where lines are thin."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest_asyncio

from homeserver.app import running
from homeserver.config.sections.rooms import Rooms
from homeserver.config.sections.sync import Sync
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.patience import LONG_POLL_MS

FULL = '{"room":{"timeline":{"limit":20}}}'


@pytest_asyncio.fixture
async def sparing(database_url: str, tmp_path: Path) -> AsyncIterator[Homes]:
    settings = replace(
        settings_for_tests(database_url, tmp_path),
        rooms=Rooms(typing=False),
        sync=Sync(first_events=3),
    )
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


async def test_a_room_that_is_new_to_a_client_is_shown_from_its_last_events(
    sparing: Homes,
) -> None:
    alice = await sparing.user("alice")
    room_id = await alice.create_room()
    sent = [await alice.send(room_id, f"message {number}") for number in range(10)]
    first = await alice.sync(filter=FULL)
    timeline = first["rooms"]["join"][room_id]["timeline"]
    assert [event["event_id"] for event in timeline["events"]] == sent[-3:]
    assert timeline["limited"]
    before = (
        await alice.get(
            f"v3/rooms/{room_id}/messages", dir="b", limit=3, **{"from": timeline["prev_batch"]}
        )
    ).ok()
    assert [event["event_id"] for event in before["chunk"]] == sent[-4:-7:-1]


async def test_a_client_that_knows_the_room_misses_nothing_that_it_asks_for(
    sparing: Homes,
) -> None:
    alice = await sparing.user("alice")
    room_id = await alice.create_room()
    first = await alice.sync(filter=FULL)
    sent = [await alice.send(room_id, f"message {number}") for number in range(10)]
    later = await alice.sync(first["next_batch"], filter=FULL)
    timeline = later["rooms"]["join"][room_id]["timeline"]
    assert [event["event_id"] for event in timeline["events"]] == sent
    assert not timeline["limited"]


async def test_nobody_is_told_who_types(sparing: Homes) -> None:
    alice = await sparing.user("alice")
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    path = f"v3/rooms/{room_id}/typing/{alice.user_id}"
    assert (await alice.put(path, {"typing": True, "timeout": LONG_POLL_MS})).body == {}
    assert "rooms" not in await alice.sync(since)
