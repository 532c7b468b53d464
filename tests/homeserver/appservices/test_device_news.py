"""What application services hear of devices: messages, keys, other users' lists (MSC3202)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, Ghost, bridged
from tests.homeserver.encryption.olm_device import OlmDevice

TO_DEVICE = "de.sorunome.msc2409.to_device"
LISTS = "org.matrix.msc3202.device_lists"
COUNTS = "org.matrix.msc3202.device_one_time_keys_count"
FALLBACK = "org.matrix.msc3202.device_unused_fallback_key_types"


@pytest_asyncio.fixture
async def bridge() -> AsyncIterator[Bridge]:
    fields = {"de.sorunome.msc2409.push_ephemeral": True, "org.matrix.msc3202": True}
    async with Bridge(fields=fields).running() as running:
        yield running


@pytest_asyncio.fixture
async def homes(database_url: str, tmp_path: Path, bridge: Bridge) -> AsyncIterator[BridgedHomes]:
    async with bridged(database_url, tmp_path, bridge) as running:
        yield running


async def ghost_with_device(homes: BridgedHomes, bridge: Bridge) -> Ghost:
    """A user of the bridge at a device that the bridge has made, with keys."""
    ghost = await homes.ghost(bridge, "bob")
    assert (await ghost.put("v3/devices/PHONE", {})).status == 201
    ghost.acting_device = ghost.device_id = "PHONE"
    await OlmDevice(ghost).publish(one_time_keys=3, fallback=True)
    return ghost


async def test_keys_are_uploaded_by_a_device_that_was_made(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    ghost, alice = await ghost_with_device(homes, bridge), await homes.user("alice")
    (keys,) = await OlmDevice(alice).devices_of(ghost.user_id)
    assert keys["device_id"] == "PHONE"
    body = {"one_time_keys": {"signed_curve25519:x": {"key": "k"}}}
    without_device = homes.acting(bridge, ghost.user_id)
    (await without_device.post("v3/keys/upload", body)).refused(400, "M_INVALID_PARAM")


async def test_messages_come_with_the_numbers_of_keys_and_once(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    ghost, alice = await ghost_with_device(homes, bridge), await homes.user("alice")
    await OlmDevice(alice).begin_sessions(await OlmDevice(alice).devices_of(ghost.user_id))
    for number in range(3):
        body = {"messages": {ghost.user_id: {"*": {"number": number}}}}
        (await alice.put(f"v3/sendToDevice/m.test/{number}", body)).ok()
    await bridge.wait_for(lambda: len(bridge.told(TO_DEVICE)) == 3)
    assert [message["content"]["number"] for message in bridge.told(TO_DEVICE)] == [0, 1, 2]
    last = bridge.transactions[-1].body
    assert last[COUNTS] == {ghost.user_id: {"PHONE": {"signed_curve25519": 2}}}
    assert last[FALLBACK] == {ghost.user_id: {"PHONE": ["signed_curve25519"]}}
    room_id = await alice.create_room(invite=[ghost.user_id])
    await bridge.wait_for(lambda: any(e["room_id"] == room_id for e in bridge.events))
    assert "to_device" not in await ghost.sync(), "what was delivered is deleted"


async def test_messages_wait_for_a_bridge_that_is_away(homes: BridgedHomes, bridge: Bridge) -> None:
    ghost, alice = await ghost_with_device(homes, bridge), await homes.user("alice")
    await bridge.stop()
    for number in range(150):
        body = {"messages": {ghost.user_id: {"PHONE": {"number": number}}}}
        (await alice.put(f"v3/sendToDevice/m.test/{number}", body)).ok()
    await homes.come_back(bridge)
    await bridge.wait_for(lambda: len(bridge.told(TO_DEVICE)) >= 150)
    numbers = [message["content"]["number"] for message in bridge.told(TO_DEVICE)]
    assert numbers == list(range(150))


async def test_messages_of_real_users_are_left_to_their_devices(
    database_url: str, tmp_path: Path
) -> None:
    users = [{"regex": "@alice:test", "exclusive": False}]
    fields = {"receive_ephemeral": True, "namespaces": {"users": users}}
    async with (
        Bridge(fields=fields).running() as bridge,
        bridged(database_url, tmp_path, bridge) as homes,
    ):
        alice, bob = await homes.user("alice"), await homes.user("bob")
        body = {"messages": {alice.user_id: {"*": {"hello": 1}}}}
        (await bob.put("v3/sendToDevice/m.test/1", body)).ok()
        await bridge.wait_for(lambda: bridge.told(TO_DEVICE))
        assert len((await alice.sync())["to_device"]["events"]) == 1


async def test_messages_are_left_to_the_devices_of_a_bridge_that_encrypts_by_sync(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        Bridge(fields={"receive_ephemeral": True}).running() as bridge,
        bridged(database_url, tmp_path, bridge) as homes,
    ):
        alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
        body = {
            "type": "m.login.application_service",
            "identifier": {"type": "m.id.user", "user": ghost.user_id},
        }
        session = (await homes.as_service(bridge).post("v3/login", body)).ok()
        device = homes.nobody()
        device.token, device.user_id = session["access_token"], ghost.user_id
        message = {"messages": {ghost.user_id: {"*": {"hello": 1}}}}
        (await alice.put("v3/sendToDevice/m.test/1", message)).ok()
        room_id = await alice.create_room(invite=[ghost.user_id])
        await bridge.wait_for(lambda: any(e["room_id"] == room_id for e in bridge.events))
        assert len((await device.sync())["to_device"]["events"]) == 1


async def test_changes_of_devices_in_shared_rooms_are_told(
    homes: BridgedHomes, bridge: Bridge
) -> None:
    ghost = await homes.ghost(bridge, "bob")
    alice, stranger = await homes.user("alice"), await homes.user("stranger")
    room_id = await alice.create_room(preset="public_chat")
    await ghost.join(room_id)
    for user in (stranger, alice):
        await OlmDevice(user).publish()
    await bridge.wait_for(lambda: any(LISTS in txn.body for txn in bridge.transactions))

    def told(key: str) -> set[str]:
        lists = [txn.body[LISTS] for txn in bridge.transactions if LISTS in txn.body]
        return {user_id for one in lists for user_id in one[key]}

    await bridge.wait_for(lambda: alice.user_id in told("changed"))
    assert stranger.user_id not in told("changed")
    (await alice.post(f"v3/rooms/{room_id}/leave")).ok()
    await bridge.wait_for(lambda: told("left"))
    assert told("left") == {alice.user_id}
