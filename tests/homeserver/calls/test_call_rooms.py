"""Who may take part in group calls, and whom they notify."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from homeserver.app import running
from homeserver.config.sections.calls import Calls
from tests.homeserver.conftest import Client, Homes, settings_for_tests

MEMBER = "org.matrix.msc3401.call.member"
NOTIFICATION = "org.matrix.msc4075.rtc.notification"
DECLINE = "org.matrix.msc4310.rtc.decline"


@pytest_asyncio.fixture
async def calling(database_url: str, tmp_path: Path) -> AsyncIterator[Homes]:
    """A server with a LiveKit server behind it."""
    calls = Calls(livekit_url="wss://sfu.test", api_key="key", api_secret="s" * 32)
    settings = replace(settings_for_tests(database_url, tmp_path), calls=calls)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


async def levels(client: Client, room_id: str) -> Any:
    """The power levels of a room."""
    path = f"v3/rooms/{quote(room_id)}/state/m.room.power_levels"
    return (await client.get(path)).ok()


async def enter_call(client: Client, room_id: str) -> int:
    """The status of the attempt to say that one is in the call."""
    key = quote(f"_{client.user_id}_{client.device_id}_m.call")
    path = f"v3/rooms/{quote(room_id)}/state/{MEMBER}/{key}"
    return (await client.put(path, {"application": "m.call"})).status


async def test_members_of_new_rooms_may_call_where_there_are_calls(calling: Homes) -> None:
    alice, bob = await calling.user(), await calling.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    assert (await levels(alice, room_id))["events"][MEMBER] == 0
    assert await enter_call(bob, room_id) == 200
    state = f"v3/rooms/{quote(room_id)}/state/m.room.name"
    (await bob.put(state, {"name": "x"})).refused(403, "M_FORBIDDEN")


async def test_the_creator_may_say_otherwise(calling: Homes) -> None:
    alice = await calling.user()
    wanted = {"events": {MEMBER: 50}}
    room_id = await alice.create_room(power_level_content_override=wanted)
    assert (await levels(alice, room_id))["events"][MEMBER] == 50
    space = await alice.create_room(creation_content={"type": "m.space"})
    assert MEMBER not in (await levels(alice, space))["events"]


async def test_without_calls_rooms_are_as_the_specification_says(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    assert MEMBER not in (await levels(alice, room_id))["events"]
    assert await enter_call(bob, room_id) == 403
    assert await enter_call(alice, room_id) == 200


@pytest.mark.parametrize("is_room", [True, False])
async def test_a_call_notifies_whom_it_mentions(homes: Homes, is_room: bool) -> None:
    alice, bob, carol = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat")
    for client in (bob, carol):
        await client.join(room_id)
    mentions = {"room": True} if is_room else {"user_ids": [bob.user_id]}
    content = {"m.mentions": mentions, "notification_type": "ring", "lifetime": 30_000}
    path = f"v3/rooms/{quote(room_id)}/send"
    call = (await alice.put(f"{path}/{NOTIFICATION}/1", content)).ok()["event_id"]
    notified = (await bob.get("v3/notifications")).ok()["notifications"]
    assert [one["event"]["event_id"] for one in notified] == [call]
    assert {"set_tweak": "sound", "value": "ring"} in notified[0]["actions"]
    of_carol = (await carol.get("v3/notifications")).ok()["notifications"]
    assert len(of_carol) == (1 if is_room else 0)
    relates_to = {"rel_type": "m.reference", "event_id": call}
    (await bob.put(f"{path}/{DECLINE}/1", {"m.relates_to": relates_to})).ok()
    assert (await alice.get("v3/notifications")).ok()["notifications"] == []
