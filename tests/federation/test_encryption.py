"""Devices of two servers speak to each other: both are whole, over TLS on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.test_two_homeservers import Pair, side, until
from tests.homeserver.conftest import Client


@pytest_asyncio.fixture
async def two(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Pair]:
    """Alice here and Bob there, who share no room."""
    async with (
        aiohttp.ClientSession() as session,
        side(cluster, authority, tmp_path / "here", session) as here,
        side(cluster, authority, tmp_path / "there", session) as there,
    ):
        yield Pair(here, there, await here.user("alice"), await there.user("bob"), "")


async def send(sender: Client, to: Client, number: int) -> None:
    body = {"messages": {to.user_id: {to.device_id: {"n": number}}}}
    (await sender.put(f"v3/sendToDevice/m.test/t{number}", body)).ok()


async def receive(client: Client, count: int) -> list[int]:
    """The first messages that the device is told, which acknowledges all but the last ones."""
    numbers: list[int] = []

    def find(answer: Any) -> bool:
        events = answer.get("to_device", {}).get("events", ())
        numbers.extend(one["content"]["n"] for one in events)
        return len(numbers) >= count

    await until(client, find)
    return numbers


async def test_messages_to_devices_go_both_ways(two: Pair) -> None:
    await send(two.alice, two.bob, 1)
    assert await receive(two.bob, 1) == [1]
    await send(two.bob, two.alice, 2)
    assert await receive(two.alice, 1) == [2]


async def test_a_star_is_for_the_devices_that_the_other_server_knows(two: Pair) -> None:
    assert two.there.homes is not None
    phone = await two.there.homes.second_device(two.bob)
    body = {"messages": {two.bob.user_id: {"*": {"n": 7}}}}
    (await two.alice.put("v3/sendToDevice/m.test/t", body)).ok()
    assert await receive(two.bob, 1) == [7]
    assert await receive(phone, 1) == [7]


@pytest.mark.slow
async def test_messages_arrive_once_and_in_order_although_their_server_was_away(two: Pair) -> None:
    for number in range(30):
        await send(two.alice, two.bob, number)
    await two.there.stop()
    for number in range(30, 80):
        await send(two.alice, two.bob, number)
    await two.here.stop()
    await two.here.start()
    alice = two.here.again(two.alice)
    await two.there.start()
    bob = two.there.again(two.bob)
    for number in range(80, 100):
        await send(alice, bob, number)
    assert await receive(bob, 100) == list(range(100))
    assert await receive_at_once(bob) == []


async def receive_at_once(client: Client) -> list[Any]:
    """What still waits once what was told is acknowledged."""
    answer = await client.sync()
    answer = await client.sync(answer["next_batch"])
    return list(answer.get("to_device", {}).get("events", ()))
