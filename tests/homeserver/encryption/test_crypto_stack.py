"""Devices that really encrypt talk through the server: two users, three devices."""

from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import vodozemac

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.olm_device import (
    ENCRYPTION,
    SIGNED_KEY,
    OlmDevice,
    check_signed_by,
)
from tests.homeserver.encryption.test_cross_signing import Identity, identity_of, upload_signatures


async def device_of(client: Client, **published: Any) -> OlmDevice:
    device = OlmDevice(client)
    await device.publish(**published)
    return device


@dataclass
class Scene:
    """Alice and Bob in an encrypted room."""

    homes: Homes
    alice: OlmDevice
    bob: OlmDevice
    room_id: str

    @property
    def members(self) -> tuple[Client, Client]:
        return self.alice.client, self.bob.client


@pytest_asyncio.fixture
async def scene(homes: Homes) -> Scene:
    alice, bob = await homes.user("alice"), await homes.user("bob")
    room_id = await alice.create_room(invite=[bob.user_id], initial_state=[ENCRYPTION])
    await bob.join(room_id)
    return Scene(homes, await device_of(alice), await device_of(bob), room_id)


async def test_encrypted_messages_go_both_ways(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.room_id
    await alice.say(room_id, scene.members, "hello")
    await bob.sync()
    assert await bob.history(room_id) == ["hello"]
    await bob.say(room_id, scene.members, "hello yourself")
    await alice.sync()
    await alice.say(room_id, scene.members, "what a day")
    expected = ["hello", "hello yourself", "what a day"]
    assert await bob.history(room_id) == await alice.history(room_id) == expected


async def test_a_key_that_was_given_away_is_told_as_one_less(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.room_id
    await bob.sync()
    await alice.say(room_id, scene.members, "hello")
    answer = await bob.sync()
    assert answer["device_one_time_keys_count"] == {SIGNED_KEY: 9}


async def test_each_new_session_takes_the_oldest_key_and_then_the_fallback(homes: Homes) -> None:
    bob = await device_of(await homes.user("bob"), one_time_keys=3, fallback=True)
    given: list[str] = []
    for n in range(5):
        sender = await device_of(await homes.user())
        devices = await sender.devices_of(bob.client.user_id)
        await sender.send_encrypted(devices, "m.dummy", {"n": n})
        given += sender.used_keys
    answer = await bob.sync()
    assert len(set(given[:3])) == 3
    assert given[3] == given[4] not in given[:3]
    assert answer["device_unused_fallback_key_types"] == []
    assert len(bob.sessions) == 5, "all of them could be opened"
    await bob.publish(one_time_keys=2, fallback=True)
    answer = await bob.sync()
    assert answer["device_one_time_keys_count"] == {SIGNED_KEY: 2}
    assert answer["device_unused_fallback_key_types"] == [SIGNED_KEY]


async def sign_in(scene: Scene, identity: Identity) -> OlmDevice:
    """Alice's second device, which she signs."""
    phone = await device_of(await scene.homes.second_device(scene.alice.client))
    signed = identity.sign(phone.keys(), "self_signing")
    failures = await upload_signatures(
        phone.client, {phone.client.user_id: {phone.client.device_id: signed}}
    )
    assert failures == {}
    return phone


def is_trusted(answer: Any, trusting: Identity, user_id: str, device_id: str) -> bool:
    """Whether a chain of signatures leads from a user who trusts to another's device."""
    master = answer["master_keys"][user_id]
    self_signing = answer["self_signing_keys"][user_id]
    device = answer["device_keys"][user_id][device_id]
    ((master_id, master_key),) = master["keys"].items()
    ((self_id, self_key),) = self_signing["keys"].items()
    own, own_key = trusting.client.user_id, trusting.public_key("user_signing")
    try:
        check_signed_by(master, own, f"ed25519:{own_key}", own_key)
        check_signed_by(self_signing, user_id, master_id, master_key)
        check_signed_by(device, user_id, self_id, self_key)
    except (KeyError, vodozemac.SignatureException):
        return False
    return True


async def test_verification_by_cross_signing_covers_later_devices(scene: Scene) -> None:
    alice, bob = scene.alice, scene.bob
    hers, his = await identity_of(alice.client), await identity_of(bob.client)
    who = alice.client.user_id
    wanted: dict[str, Any] = {"device_keys": {who: []}}
    phone = await sign_in(scene, hers)
    answer = (await bob.client.post("v3/keys/query", wanted)).ok()
    assert not is_trusted(answer, his, who, phone.client.device_id)
    signed = his.sign(answer["master_keys"][who], "user_signing")
    failures = await upload_signatures(bob.client, {who: {hers.public_key("master"): signed}})
    assert failures == {}
    answer = (await bob.client.post("v3/keys/query", wanted)).ok()
    assert is_trusted(answer, his, who, phone.client.device_id)
    assert not is_trusted(answer, his, who, alice.client.device_id), "nobody has signed it"
    answer = (await alice.client.post("v3/keys/query", wanted)).ok()
    assert not is_trusted(answer, his, who, phone.client.device_id), "that is his secret"


async def test_a_new_device_reads_the_past_from_the_backup(scene: Scene) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.room_id
    for n in range(3):
        await alice.say(room_id, scene.members, f"alice {n}")
        await bob.say(room_id, scene.members, f"bob {n}")
    await alice.sync()
    recovery = vodozemac.PkDecryption()
    await alice.back_up(recovery)
    phone = await sign_in(scene, await identity_of(alice.client))
    assert await phone.history(room_id) == [None] * 6
    assert await phone.restore(recovery) == 2
    expected = [f"{who} {n}" for n in range(3) for who in ("alice", "bob")]
    assert await phone.history(room_id) == expected
    bob.outbound.clear()
    await bob.say(room_id, scene.members, "to all three")
    for device in (alice, phone):
        await device.sync()
        assert (await device.history(room_id))[-1] == "to all three"


@pytest.mark.parametrize("many", [250])
async def test_no_key_is_lost_among_many(scene: Scene, many: int) -> None:
    alice, bob, room_id = scene.alice, scene.bob, scene.room_id
    for n in range(many):
        alice.outbound.clear()
        await alice.say(room_id, scene.members, str(n))
    told = 0
    while len(bob.inbound) < many:
        answer = await bob.sync()
        told += len(answer.get("to_device", {}).get("events", ()))
    assert told == many
    assert (await bob.history(room_id))[-1] == str(many - 1)
