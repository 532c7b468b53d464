"""Dehydrated devices on one server."""

import asyncio
from typing import Any

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.dehydrated import DATA, PATH, Dehydrated, dehydrated_of, waiting
from tests.homeserver.encryption.device import claim, device_of, one_time_keys, query
from tests.homeserver.encryption.test_cross_signing import identity_of, upload_signatures
from tests.homeserver.encryption.test_to_device import contents, send


async def says(sender: Client, device: Client, number: int) -> None:
    (await send(sender, f"t{number}", {device.user_id: {device.device_id: {"n": number}}})).ok()


async def changed(client: Client, since: str) -> list[str]:
    found: list[str] = (await client.sync(since)).get("device_lists", {}).get("changed", [])
    return found


async def test_it_is_kept_for_any_session_of_its_user(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await alice.get(PATH)).refused(404, "M_NOT_FOUND")
    await dehydrated_of(alice)
    phone = await homes.second_device(alice)
    assert (await phone.get(PATH)).ok() == {"device_id": "DRY", "device_data": DATA}
    (await bob.get(PATH)).refused(404, "M_NOT_FOUND")


async def test_others_see_its_keys_and_claim_them_like_those_of_any_device(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    dry = await dehydrated_of(alice)
    seen = (await query(bob, alice))["device_keys"][alice.user_id]["DRY"]
    assert seen["dehydrated"] is True
    assert seen["unsigned"] == {"device_display_name": "Dehydrated device"}
    assert await claim(bob, dry) == {"DRY": one_time_keys(1)}
    assert await claim(bob, dry) == {"DRY": one_time_keys(9)}, "the fallback key"


async def test_what_is_sent_to_it_waits_until_it_is_replaced(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    dry = await dehydrated_of(alice)
    for n in range(5):
        await says(bob, dry, n)
    for _ in range(2):
        page = await waiting(alice, "DRY", limit=3)
        assert [one["content"]["n"] for one in page["events"]] == [0, 1, 2]
        page = await waiting(alice, "DRY", limit=3, **{"from": page["next_batch"]})
        assert [one["content"]["n"] for one in page["events"]] == [3, 4]
        assert "next_batch" not in page
    await dehydrated_of(alice)
    assert await waiting(alice, "DRY") == {"events": []}
    assert "to_device" not in await alice.sync()


async def test_clients_that_post_ask_until_nothing_comes(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    dry = await dehydrated_of(alice)
    for n in range(3):
        await says(bob, dry, n)
    told: list[int] = []
    body: dict[str, Any] = {}
    while True:
        page = (await alice.post(f"{PATH}/DRY/events?limit=2", body)).ok()
        if not page["events"]:
            break
        told += [one["content"]["n"] for one in page["events"]]
        body = {"next_batch": page["next_batch"]}
    assert told == [0, 1, 2]


async def test_a_new_one_takes_the_place_of_the_old(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await dehydrated_of(alice)
    since = (await bob.sync())["next_batch"]
    await dehydrated_of(alice, "DRIER")
    assert await changed(bob, since) == [alice.user_id]
    seen = (await query(bob, alice))["device_keys"][alice.user_id]
    assert list(seen) == ["DRIER"]
    ids = {one["device_id"] for one in (await alice.get("v3/devices")).ok()["devices"]}
    assert ids == {alice.device_id, "DRIER"}
    (await alice.get(f"{PATH}/DRY/events")).refused(403, "M_FORBIDDEN")


async def test_of_several_uploads_at_once_one_device_is_left(homes: Homes) -> None:
    alice = await homes.user()
    names = [f"DRY{n}" for n in range(4)]
    answers = await asyncio.gather(*(Dehydrated(alice, name).upload() for name in names))
    assert {answer.status for answer in answers} <= {200, 400}
    kept = (await alice.get(PATH)).ok()["device_id"]
    devices = (await alice.get("v3/devices")).ok()["devices"]
    assert {one["device_id"] for one in devices} == {alice.device_id, kept}


async def test_it_goes_when_its_user_removes_it(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await bob.join(await alice.create_room(preset="public_chat"))
    dry = await dehydrated_of(alice)
    since = (await bob.sync())["next_batch"]
    assert (await alice.delete(PATH)).ok() == {"device_id": "DRY"}
    assert await changed(bob, since) == [alice.user_id]
    assert (await query(bob, alice))["device_keys"][alice.user_id] == {}
    assert await claim(bob, dry) == {}
    (await alice.delete(PATH)).refused(404, "M_NOT_FOUND")


async def test_nobody_logs_in_as_it(homes: Homes) -> None:
    alice = await homes.user()
    await dehydrated_of(alice)
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": "a password that is long",
        "device_id": "DRY",
    }
    (await homes.nobody().post("v3/login", body)).refused(403, "M_FORBIDDEN")


async def test_messages_of_other_devices_are_not_told_here(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await dehydrated_of(alice)
    await dehydrated_of(bob, "BOBS")
    for device_id in (alice.device_id, bob.device_id, "BOBS", "NONE"):
        (await alice.get(f"{PATH}/{device_id}/events")).refused(403, "M_FORBIDDEN")
    (await alice.get(f"{PATH}/DRY/events", **{"from": "x"})).refused(400, "M_INVALID_PARAM")
    await says(bob, alice, 1)
    assert contents(await alice.sync()) == [{"n": 1}]


async def test_signatures_of_the_former_device_do_not_count_for_the_new_one(homes: Homes) -> None:
    alice = await homes.user()
    identity = await identity_of(alice)
    dry = await dehydrated_of(alice)
    signed = identity.sign(dry.body()["device_keys"], "self_signing")
    assert await upload_signatures(alice, {alice.user_id: {"DRY": signed}}) == {}
    ssk = f"ed25519:{identity.public_key('self_signing')}"
    assert ssk in await signatures_seen(alice)
    await dehydrated_of(alice)
    assert ssk not in await signatures_seen(alice)


async def signatures_seen(alice: Client) -> set[str]:
    keys = (await query(alice, alice))["device_keys"][alice.user_id]["DRY"]
    return set(keys["signatures"][alice.user_id])


async def test_what_is_no_dehydrated_device_is_refused_and_changes_nothing(homes: Homes) -> None:
    alice = await homes.user()
    await device_of(alice)
    identity = await identity_of(alice)
    dry = await dehydrated_of(alice)
    other_keys = Dehydrated(alice, "OTHER").body()["device_keys"]
    for missing in ("device_id", "device_data", "device_keys"):
        (await dry.upload(**{missing: None})).refused(400, "M_MISSING_PARAM")
    (await dry.upload(device_data={})).refused(400, "M_MISSING_PARAM")
    (await dry.upload(device_keys=other_keys)).refused(400, "M_INVALID_PARAM")
    forged = {**dry.body()["device_keys"], "algorithms": ["m.other"]}
    (await dry.upload(device_keys=forged)).refused(400, "M_INVALID_SIGNATURE")
    (await dry.upload(one_time_keys={"nonsense": 1})).refused(400, "M_BAD_JSON")
    (await dry.upload(device_data={"algorithm": "x" * 200_000})).refused(413, "M_TOO_LARGE")
    (await Dehydrated(alice, alice.device_id).upload()).refused(400, "M_INVALID_PARAM")
    (await Dehydrated(alice, identity.public_key("master")).upload()).refused(403, "M_FORBIDDEN")
    assert (await alice.get(PATH)).ok() == {"device_id": "DRY", "device_data": DATA}
    assert await claim(alice, dry) == {"DRY": one_time_keys(1)}
