"""A server that was restored from a backup meets another one, which remembers what it has lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from homeserver.jobs.announced_devices import announce_devices
from homeserver.jobs.job import JobContext
from storage.cluster import Cluster
from storage.restores import find_unannounced
from tests.federation.certificates import Authority
from tests.federation.sides import room_of, side, until
from tests.federation.test_two_homeservers import Pair, read_texts
from tests.homeserver.backup.saving import back_up, restore
from tests.homeserver.conftest import Client
from tests.homeserver.encryption.device import device_of, query
from tests.patience import LONG_POLL_MS, PATIENCE_S


@pytest_asyncio.fixture
async def pair(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Pair]:
    async with (
        aiohttp.ClientSession() as session,
        side(cluster, authority, tmp_path / "here", session) as here,
        side(cluster, authority, tmp_path / "there", session) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        (await bob.post(f"v3/join/{room_id}", server_name=here.name)).ok()
        yield Pair(here, there, alice, bob, room_id)


async def lose(pair: Pair, path: Path) -> Client:
    """Put Alice's server back to where it was when it was backed up; her session there."""
    await pair.here.stop()
    await restore(path, pair.here.settings, overwrite=True)
    await pair.here.start()
    alice = pair.here.again(pair.alice)
    alice._transactions = 1_000
    return alice


async def until_read(client: Client, room_id: str, wanted: list[str]) -> None:
    """Until the room's history ends with these messages."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            page = (await client.get(f"v3/rooms/{room_id}/messages", dir="b", limit=100)).ok()
            texts = [
                one["content"]["body"] for one in page["chunk"] if one["type"] == "m.room.message"
            ]
            if set(wanted) <= set(texts):
                return
            await asyncio.sleep(0.05)


async def test_what_was_lost_comes_back_from_those_who_have_it(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    await pair.alice.send(pair.room_id, "kept")
    assert await read_texts(pair.bob, pair.room_id, 1) == ["kept"]
    await back_up(pair.here.settings, path)
    await pair.alice.send(pair.room_id, "lost, of Alice")
    assert await read_texts(pair.bob, pair.room_id, 2) == ["kept", "lost, of Alice"]
    await pair.bob.send(pair.room_id, "lost, of Bob")
    assert len(await read_texts(pair.alice, pair.room_id, 3)) == 3
    alice = await lose(pair, path)
    await pair.bob.send(pair.room_id, "are you back?")
    everything = ["kept", "lost, of Alice", "lost, of Bob", "are you back?"]
    await until_read(alice, pair.room_id, everything)
    await alice.send(pair.room_id, "I am")
    await until_read(pair.bob, pair.room_id, [*everything, "I am"])


async def test_who_speaks_first_after_a_restore_is_heard(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    await back_up(pair.here.settings, path)
    await pair.alice.send(pair.room_id, "lost")
    assert await read_texts(pair.bob, pair.room_id, 1) == ["lost"]
    alice = await lose(pair, path)
    for number in range(3):
        await alice.send(pair.room_id, f"again {number}")
    assert await read_texts(pair.bob, pair.room_id, 4) == [
        "lost",
        *(f"again {n}" for n in range(3)),
    ]
    await pair.bob.send(pair.room_id, "hello")
    await until_read(alice, pair.room_id, ["lost", "hello"])


async def test_other_servers_forget_devices_that_are_lost(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    assert pair.here.homes is not None
    await device_of(pair.alice)
    await back_up(pair.here.settings, path)
    phone = await pair.here.homes.second_device(pair.alice)
    await device_of(phone)
    await until_devices(pair.bob, pair.alice, {pair.alice.device_id, phone.device_id})
    since = (await pair.bob.sync())["next_batch"]
    await lose(pair, path)
    services = pair.here.homes.services
    context = JobContext(
        services.db,
        services.settings,
        services.users.deactivation,
        services.users.devices,
        services.media.upkeep,
    )
    assert await find_unannounced(services.db) is not None
    await announce_devices(context, 0, {})
    assert await find_unannounced(services.db) is None
    await until_told_of(pair.bob, pair.alice, since)
    await until_devices(pair.bob, pair.alice, {pair.alice.device_id})


async def until_told_of(client: Client, user: Client, since: str) -> None:
    """Until the client is told to look at a user's devices again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.sync(since, timeout_ms=LONG_POLL_MS)
            if user.user_id in answer.get("device_lists", {}).get("changed", ()):
                return
            since = answer["next_batch"]


async def until_devices(client: Client, of: Client, wanted: set[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while set((await query(client, of))["device_keys"].get(of.user_id, {})) != wanted:
            await asyncio.sleep(0.05)


async def test_devices_of_others_are_asked_for_anew(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    assert pair.there.homes is not None
    encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
    await pair.alice.set_state(pair.room_id, "m.room.encryption", encryption)
    await device_of(pair.bob)
    await until_devices(pair.alice, pair.bob, {pair.bob.device_id})
    await back_up(pair.here.settings, path)
    phone = await pair.there.homes.second_device(pair.bob)
    await device_of(phone)
    await until_devices(pair.alice, pair.bob, {pair.bob.device_id, phone.device_id})
    ahead = (await pair.alice.sync())["next_batch"]
    alice = await lose(pair, path)
    await until_told_of(alice, pair.bob, ahead)
    await until_devices(alice, pair.bob, {pair.bob.device_id, phone.device_id})


async def test_messages_to_devices_go_on(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    await send(pair.alice, pair.bob, 1)
    assert await received(pair.bob, 1) == [1]
    await back_up(pair.here.settings, path)
    await send(pair.alice, pair.bob, 2)
    assert 2 in await received(pair.bob, 2)
    alice = await lose(pair, path)
    await send(alice, pair.bob, 3)
    assert 3 in await received(pair.bob, 3)


async def send(sender: Client, to: Client, number: int) -> None:
    body = {"messages": {to.user_id: {to.device_id: {"n": number}}}}
    (await sender.put(f"v3/sendToDevice/m.test/t{number}", body)).ok()


async def received(client: Client, last: int) -> list[int]:
    """The messages to the device, up to one."""
    numbers: list[int] = []

    def find(answer: Any) -> bool:
        events = answer.get("to_device", {}).get("events", ())
        numbers.extend(one["content"]["n"] for one in events)
        return last in numbers

    await until(client, find)
    return numbers


async def test_a_room_that_was_entered_meanwhile_can_be_entered_again(
    pair: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "backup.tar"
    await back_up(pair.here.settings, path)
    room_id = await pair.bob.create_room(preset="public_chat")
    (await pair.alice.post(f"v3/join/{room_id}", server_name=pair.there.name)).ok()
    await pair.bob.send(room_id, "welcome")
    alice = await lose(pair, path)
    assert room_of(await alice.sync(), room_id) == {}
    (await alice.post(f"v3/join/{room_id}", server_name=pair.there.name)).ok()
    await alice.send(room_id, "here again")
    await until_read(pair.bob, room_id, ["welcome", "here again"])
