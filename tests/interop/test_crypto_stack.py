"""Devices that really encrypt talk across hearth and Synapse: two users, three devices."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import vodozemac

from tests.homeserver.conftest import Client
from tests.homeserver.encryption.olm_device import ENCRYPTION, OlmDevice
from tests.homeserver.encryption.test_cross_signing import Identity, upload, upload_signatures
from tests.homeserver.encryption.test_crypto_stack import device_of, is_trusted
from tests.interop.conftest import Cast
from tests.interop.inbox import LONG_POLL_MS, WITHIN_S
from tests.interop.test_encryption import password_auth

pytestmark = pytest.mark.interop


async def share_an_encrypted_room(cast: Cast) -> str:
    asked = {"preset": "public_chat", "initial_state": [ENCRYPTION]}
    room_id = await cast.alice.create_room(**asked)
    (await cast.bob.post(f"v3/join/{quote(room_id)}", server_name=cast.host.name)).ok()
    return room_id


async def until(device: OlmDevice, is_so: Callable[[], bool]) -> None:
    """Have the device sync until something is so."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():
            await device.sync(LONG_POLL_MS)


async def until_read(device: OlmDevice, room_id: str, texts: list[str]) -> None:
    """Have the device sync until it has read these messages of the room, and no others."""
    seen: list[str | None] = []
    async with asyncio.timeout(WITHIN_S):
        while seen != texts:
            await device.sync(LONG_POLL_MS)
            seen = await device.history(room_id)


async def until_known(device: OlmDevice, *others: Client) -> None:
    """Have the device ask for others' keys until their devices are known."""
    wanted = {other.device_id for other in others}
    found: set[str] = set()
    async with asyncio.timeout(WITHIN_S):
        while not wanted <= found:
            known = await device.devices_of(*{other.user_id for other in others})
            found = {keys["device_id"] for keys in known}
            if not wanted <= found:
                await device.sync(LONG_POLL_MS)


async def test_encrypted_messages_go_both_ways_to_all_three_devices(cast: Cast) -> None:
    members = (cast.alice, cast.bob)
    alice, bob = await device_of(cast.alice), await device_of(cast.bob)
    room_id = await share_an_encrypted_room(cast)
    await until_known(alice, cast.bob)
    await alice.say(room_id, members, "hello")
    await until_read(bob, room_id, ["hello"])
    phone = await device_of(await cast.host.second_device(cast.alice))
    await until_known(bob, cast.alice, phone.client)
    await bob.say(room_id, members, "hello yourself")
    await until_read(alice, room_id, ["hello", "hello yourself"])
    recovery = vodozemac.PkDecryption()
    await alice.back_up(recovery)
    await until(phone, lambda: len(phone.inbound) == 1)
    assert await phone.history(room_id) == [None, "hello yourself"]
    await phone.restore(recovery)
    assert await phone.history(room_id) == ["hello", "hello yourself"]
    await phone.say(room_id, members, "from the new one")
    await until_read(bob, room_id, ["hello", "hello yourself", "from the new one"])


async def test_keys_are_claimed_in_order_and_the_fallback_last(cast: Cast) -> None:
    bob = await device_of(cast.bob, one_time_keys=2, fallback=True)
    await share_an_encrypted_room(cast)
    given: list[str] = []
    for _ in range(4):
        sender = await device_of(await cast.host.second_device(cast.alice))
        await until_known(sender, cast.bob)
        devices = await sender.devices_of(cast.bob.user_id)
        await sender.send_encrypted(devices, "m.dummy", {})
        given += sender.used_keys
    assert len(set(given)) == 3
    assert given[2] == given[3]
    await until(bob, lambda: len(bob.sessions) == 4)


async def identity_at(client: Client) -> Identity:
    """The user's cross-signing keys, newly published; Synapse may ask for the password."""
    identity = Identity(client)
    answer = await upload(client, identity.all_keys())
    if answer.status == 401:
        auth = {**password_auth(client), "session": answer.body["session"]}
        answer = await upload(client, {**identity.all_keys(), "auth": auth})
    answer.ok()
    return identity


async def test_a_device_is_trusted_by_cross_signing(cast: Cast) -> None:
    alice, bob = await device_of(cast.alice), await device_of(cast.bob)
    hers, his = await identity_at(cast.alice), await identity_at(cast.bob)
    who, device_id = cast.alice.user_id, cast.alice.device_id
    signed = hers.sign(alice.keys(), "self_signing")
    assert await upload_signatures(cast.alice, {who: {device_id: signed}}) == {}
    await share_an_encrypted_room(cast)
    await until_known(bob, cast.alice)
    wanted: dict[str, Any] = {"device_keys": {who: []}}
    answer = (await cast.bob.post("v3/keys/query", wanted)).ok()
    master = his.sign(answer["master_keys"][who], "user_signing")
    failures = await upload_signatures(cast.bob, {who: {hers.public_key("master"): master}})
    assert failures == {}
    async with asyncio.timeout(WITHIN_S):
        while not is_trusted(answer, his, who, device_id):
            await bob.sync(LONG_POLL_MS)
            answer = (await cast.bob.post("v3/keys/query", wanted)).ok()
