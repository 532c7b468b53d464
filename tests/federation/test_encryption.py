"""Devices of two servers speak to each other: both are whole, over TLS on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from federation.protocol.identifiers import UserId
from storage.cluster import Cluster
from storage.remote_devices import begin_fetch, good_lists
from tests.federation.certificates import Authority
from tests.federation.sides import side, until
from tests.federation.test_two_homeservers import Pair
from tests.homeserver.conftest import Client
from tests.homeserver.encryption.dehydrated import dehydrated_of, waiting
from tests.homeserver.encryption.device import CURVE, claim, device_of, one_time_keys, query
from tests.homeserver.encryption.test_cross_signing import (
    Identity,
    identity_of,
    upload_confirmed,
    upload_signatures,
)
from tests.patience import PATIENCE_S


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


async def meet(two: Pair) -> str:
    """Put both users into a room."""
    room_id = await two.alice.create_room(preset="public_chat")
    (await two.bob.post(f"v3/join/{room_id}", server_name=two.here.name)).ok()
    return room_id


async def wait_for_change(client: Client, other: Client, since: str) -> str:
    """Until the client is told that the other's devices have changed; the next token."""
    changed: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while other.user_id not in changed:
            answer = await client.sync(since, timeout_ms=5_000)
            changed = answer.get("device_lists", {}).get("changed", [])
            since = answer["next_batch"]
    return since


async def wait_for_keys(
    client: Client, other: Client, since: str, is_so: Callable[[Any], bool]
) -> str:
    """Until the client finds something in the answer to a query, asking at every change."""
    while not is_so(await query(client, other)):
        since = await wait_for_change(client, other, since)
    return since


def algorithms(user: Client, device: Client) -> Callable[[Any], Any]:
    """The algorithms of a device in the answer to a query."""

    def find(answer: Any) -> Any:
        devices = answer["device_keys"].get(user.user_id, {})
        return devices.get(device.device_id, {}).get("algorithms")

    return find


async def token(client: Client) -> str:
    return str((await client.sync())["next_batch"])


async def is_followed(two: Pair, user: Client) -> bool:
    """Whether Alice's server knows a user's devices without asking."""
    assert two.here.homes is not None
    services = two.here.homes.services
    user_nid = await services.names.users.get_nid(user.user_id)
    return await good_lists(services.db, [user_nid]) == {user_nid}


async def until_followed(two: Pair, user: Client) -> None:
    """Until Alice's server, asked often enough, knows a user's devices without asking."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_followed(two, user):
            await query(two.alice, user)


async def test_keys_are_asked_for_and_claimed_at_the_other_server(two: Pair) -> None:
    device, identity = await device_of(two.bob), await identity_of(two.bob)
    (await device.upload(one_time_keys=one_time_keys(1))).ok()
    seen = await query(two.alice, two.bob)
    expected = device.keys() | {"unsigned": {}}
    assert seen["device_keys"] == {two.bob.user_id: {two.bob.device_id: expected}}
    assert seen["master_keys"] == {two.bob.user_id: identity.published("master")}
    assert seen["self_signing_keys"] == {two.bob.user_id: identity.published("self_signing")}
    assert (seen["user_signing_keys"], seen["failures"]) == ({}, {})
    assert await claim(two.alice, two.bob) == {two.bob.device_id: one_time_keys(1)}
    assert await claim(two.alice, two.bob) == {}
    assert not await is_followed(two, two.bob), "they share no room"


async def test_a_server_that_does_not_answer_is_told_as_a_failure(two: Pair) -> None:
    await two.there.stop()
    seen = await query(two.alice, two.bob, two.alice)
    assert list(seen["failures"]) == [two.there.name]
    assert list(seen["device_keys"]) == [two.alice.user_id]
    wanted = {two.bob.user_id: {two.bob.device_id: CURVE}}
    answer = (await two.alice.post("v3/keys/claim", {"one_time_keys": wanted})).ok()
    assert (list(answer["failures"]), answer["one_time_keys"]) == ([two.there.name], {})


async def test_devices_are_followed_from_the_first_question_on(two: Pair) -> None:
    device = await device_of(two.bob)
    await meet(two)
    since = await token(two.alice)
    await until_followed(two, two.bob)
    (await device.upload(device_keys=device.keys("m.changed"))).ok()
    of_bob, bob = algorithms(two.bob, two.bob), two.bob
    since = await wait_for_keys(two.alice, bob, since, lambda a: of_bob(a) == ["m.changed"])
    await until_followed(two, bob)
    assert two.there.homes is not None
    phone = await two.there.homes.second_device(bob)
    await device_of(phone)
    of_phone = algorithms(bob, phone)
    since = await wait_for_keys(two.alice, bob, since, lambda a: of_phone(a) is not None)
    (await phone.post("v3/logout")).ok()
    await wait_for_keys(two.alice, bob, since, lambda a: of_phone(a) is None)
    assert of_bob(await query(two.alice, bob)) == ["m.changed"]
    await until_followed(two, bob)


async def test_cross_signing_goes_over_to_the_other_server(two: Pair) -> None:
    device, identity = await device_of(two.bob), await identity_of(two.bob)
    mine = await identity_of(two.alice)
    await meet(two)
    await query(two.alice, two.bob)
    since = await token(two.alice)
    signed = identity.sign(device.keys(), "self_signing")
    (
        await two.bob.post(
            "v3/keys/signatures/upload", {two.bob.user_id: {two.bob.device_id: signed}}
        )
    ).ok()
    bob = two.bob

    def is_signed(answer: Any) -> bool:
        device = answer["device_keys"][bob.user_id][bob.device_id]
        return bool(device["signatures"] == signed["signatures"])

    since = await wait_for_keys(two.alice, bob, since, is_signed)
    second = Identity(bob, 1)
    await upload_confirmed(bob, second.all_keys())
    master = second.published("master")
    await wait_for_keys(
        two.alice, bob, since, lambda answer: answer["master_keys"][bob.user_id] == master
    )
    signed = mine.sign(master, "user_signing")
    key_id = second.public_key("master")
    assert await upload_signatures(two.alice, {two.bob.user_id: {key_id: signed}}) == {}
    assert (await query(two.alice, two.bob))["master_keys"][two.bob.user_id] == signed
    assert (await query(two.bob, two.bob))["master_keys"][two.bob.user_id] == master


async def test_who_comes_into_a_room_is_introduced_to_the_servers_in_it(two: Pair) -> None:
    await device_of(two.bob)
    since = await token(two.alice)
    await meet(two)
    await wait_for_change(two.alice, two.bob, since)
    keys = (await query(two.alice, two.bob))["device_keys"][two.bob.user_id]
    assert list(keys) == [two.bob.device_id]
    keys = (await query(two.bob, two.alice))["device_keys"][two.alice.user_id]
    assert keys == {}


async def test_devices_of_somebody_who_was_away_are_asked_for_again(two: Pair) -> None:
    device = await device_of(two.bob)
    room_id = await meet(two)
    await query(two.alice, two.bob)
    (await two.bob.post(f"v3/rooms/{room_id}/leave")).ok()
    since = await token(two.alice)
    async with asyncio.timeout(PATIENCE_S):
        while await is_followed(two, two.bob):
            since = (await two.alice.sync(since, timeout_ms=5_000))["next_batch"]
    (await device.upload(device_keys=device.keys("m.changed"))).ok()
    (await two.bob.post(f"v3/join/{room_id}", server_name=two.here.name)).ok()
    since = await wait_for_change(two.alice, two.bob, since)
    of_bob = algorithms(two.bob, two.bob)
    await wait_for_keys(two.alice, two.bob, since, lambda a: of_bob(a) == ["m.changed"])


@pytest.mark.slow
async def test_changes_while_a_server_was_away_reach_it(two: Pair) -> None:
    device = await device_of(two.alice)
    await meet(two)
    await query(two.bob, two.alice)
    since = await token(two.bob)
    await two.there.stop()
    for n in range(5):
        (await device.upload(device_keys=device.keys(f"m.changed{n}"))).ok()
    await two.here.stop()
    await two.here.start()
    await two.there.start()
    alice, bob = two.here.again(two.alice), two.there.again(two.bob)
    of_alice = algorithms(alice, alice)
    await wait_for_keys(bob, alice, since, lambda a: of_alice(a) == ["m.changed4"])


@pytest.mark.slow
async def test_a_list_with_a_gap_is_fetched_when_its_server_is_there_again(two: Pair) -> None:
    device = await device_of(two.bob)
    await meet(two)
    await query(two.alice, two.bob)
    assert two.here.homes is not None
    services = two.here.homes.services
    user_nid = await services.names.users.get_nid(two.bob.user_id)
    since = await token(two.alice)
    await two.there.stop()
    await begin_fetch(services.db, user_nid)
    services.encryption.remote_devices.fetch_later(UserId(two.bob.user_id))
    seen = await query(two.alice, two.bob)
    assert list(seen["failures"]) == [two.there.name]
    await two.there.start()
    bob = two.there.again(two.bob)
    await send(bob, two.alice, 1)
    async with asyncio.timeout(PATIENCE_S):
        while not await is_followed(two, two.bob):
            since = await wait_for_change(two.alice, two.bob, since)
    keys = (await query(two.alice, two.bob))["device_keys"][two.bob.user_id]
    assert keys[device.client.device_id]["algorithms"] == device.keys()["algorithms"]


async def test_a_dehydrated_device_is_known_elsewhere_and_takes_messages(two: Pair) -> None:
    await device_of(two.bob)
    await meet(two)
    since = await token(two.alice)
    await query(two.alice, two.bob)
    dry = await dehydrated_of(two.bob)
    of_dry = algorithms(two.bob, dry)
    since = await wait_for_keys(two.alice, two.bob, since, lambda a: of_dry(a) is not None)
    assert await claim(two.alice, dry) == {"DRY": one_time_keys(1)}
    await send(two.alice, dry, 1)
    async with asyncio.timeout(PATIENCE_S):
        while not (page := await waiting(two.bob, "DRY"))["events"]:
            await asyncio.sleep(0)
    assert page["events"] == [{"type": "m.test", "sender": two.alice.user_id, "content": {"n": 1}}]
    await dehydrated_of(two.bob, "DRIER")
    await wait_for_keys(two.alice, two.bob, since, lambda a: of_dry(a) is None)
