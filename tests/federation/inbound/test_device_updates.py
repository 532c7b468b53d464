"""What another server that shares a room hears of our users' devices, and what it finds."""

import asyncio
from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.device_lists import Update, judge_update
from federation.protocol.identifiers import DeviceId, UserId
from storage.devices import RemoveDevices
from tests.federation.inbound.far_server import FarServer
from tests.federation.inbound.test_transactions import shared_room
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.device import Device, device_of
from tests.homeserver.encryption.test_cross_signing import identity_of, upload_signatures


async def edus(homes: Homes, kind: str = "m.device_list_update") -> list[dict[str, Any]]:
    """The contents of the EDUs that wait for the far server, which cannot be reached."""
    rows = await homes.services.db.fetch("SELECT edu FROM outgoing_edus ORDER BY stream_position")
    found = [decode(edu) for (edu,) in rows]
    return [edu["content"] for edu in found if edu["edu_type"] == kind]


async def listed(far: FarServer, user: Client) -> Any:
    return (await far.get(f"user/devices/{user.user_id}")).ok()


def apply(devices: dict[str, Any], stream_id: int, updates: list[dict[str, Any]]) -> int:
    """Follow updates as another server does; none of them may leave a gap."""
    for update in updates:
        judged = judge_update(stream_id, update["stream_id"], update.get("prev_id", []))
        assert judged is Update.NEXT, update
        stream_id = update["stream_id"]
        devices.pop(update["device_id"], None)
        if not update.get("deleted"):
            devices[update["device_id"]] = update.get("keys", {})
    return stream_id


async def test_who_follows_every_update_has_what_is_listed(homes: Homes, far: FarServer) -> None:
    alice = await homes.user()
    await shared_room(alice, far)
    phones = [await homes.second_device(alice) for _ in range(4)]
    await device_of(alice)
    before = len(await edus(homes))
    first = await listed(far, alice)
    devices = {device["device_id"]: device["keys"] for device in first["devices"]}
    uploads = [
        Device(phone).upload(device_keys=Device(phone).keys(f"m.{n}"))
        for n in range(3)
        for phone in phones
    ]
    renames = [
        alice.put(f"v3/devices/{phone.device_id}", {"display_name": "x"}) for phone in phones
    ]
    for answer in await asyncio.gather(*uploads, *renames, phones[0].post("v3/logout")):
        assert answer.status in (200, 401, 404), answer.body
    stream_id = apply(devices, first["stream_id"], (await edus(homes))[before:])
    now = await listed(far, alice)
    assert now["stream_id"] == stream_id
    assert devices == {device["device_id"]: device["keys"] for device in now["devices"]}
    assert phones[0].device_id not in devices


async def test_a_device_that_goes_in_the_commit_of_its_change_is_gone(
    homes: Homes, far: FarServer
) -> None:
    alice = await homes.user()
    await shared_room(alice, far)
    phone = await homes.second_device(alice)
    await device_of(phone)
    lists, committer = homes.services.users.devices._device_lists, homes.services.committer
    user_nid = await homes.services.names.users.get_nid(alice.user_id)
    who = user_nid, UserId(alice.user_id), [DeviceId(phone.device_id)]
    removal, change = await lists.writes_for_removal(*who), await lists.writes_for_change(*who)
    await committer.commit(RemoveDevices(user_nid, who[2]), *removal, *change)
    assert [update.get("deleted") for update in (await edus(homes))[-2:]] == [True, True]


async def test_a_device_without_keys_is_told_to_other_servers_only(
    homes: Homes, far: FarServer
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await shared_room(alice, far)
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    phone = await homes.second_device(alice)
    update = (await edus(homes))[-1]
    assert (update["device_id"], update.get("keys")) == (phone.device_id, None)
    answer = await listed(far, alice)
    assert answer["stream_id"] == update["stream_id"]
    assert phone.device_id in [device["device_id"] for device in answer["devices"]]
    assert "device_lists" not in await bob.sync(since)


async def test_signatures_and_cross_signing_keys_are_told_and_listed(
    homes: Homes, far: FarServer
) -> None:
    alice = await homes.user()
    await shared_room(alice, far)
    device, identity = await device_of(alice), await identity_of(alice)
    keys = {key: identity.published(key) for key in ("master", "self_signing")}
    assert await edus(homes, "m.signing_key_update") == [
        {
            "user_id": alice.user_id,
            "master_key": keys["master"],
            "self_signing_key": keys["self_signing"],
        }
    ]
    signed = identity.sign(device.keys(), "self_signing")
    await upload_signatures(alice, {alice.user_id: {alice.device_id: signed}})
    assert (await edus(homes))[-1]["keys"] == signed
    answer = await listed(far, alice)
    assert (answer["master_key"], answer["self_signing_key"]) == tuple(keys.values())
    assert [one["keys"] for one in answer["devices"]] == [signed]
    body: dict[str, Any] = {"device_keys": {alice.user_id: []}}
    answer = (await far.post("user/keys/query", body)).ok()
    assert answer["device_keys"] == {alice.user_id: {alice.device_id: signed | {"unsigned": {}}}}, (
        "names are not told to other servers unless that is configured"
    )
    assert answer["master_keys"] == {alice.user_id: keys["master"]}
    assert "user_signing_keys" not in answer


async def test_nobody_is_told_who_shares_no_room(homes: Homes, far: FarServer) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await shared_room(bob, far)
    await device_of(alice)
    assert await edus(homes) == []
    await far.member(room_id, "leave")
    await device_of(bob)
    assert await edus(homes) == []
