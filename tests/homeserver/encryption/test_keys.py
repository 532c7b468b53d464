"""Keys of devices: publishing them, asking for them, taking one-time keys away."""

import asyncio
from typing import Any

import aiohttp
import pytest

from federation.protocol.device_keys import MAX_KEYS
from homeserver.app import running
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.device import CURVE, Device, claim, device_of, one_time_keys, query
from tests.patience import PATIENCE_S


async def counts(client: Client) -> tuple[dict[str, int], list[str]]:
    """What a sync tells of the device's keys."""
    answer = await client.sync()
    return answer["device_one_time_keys_count"], answer["device_unused_fallback_key_types"]


async def test_keys_are_told_as_they_were_published_with_the_devices_name(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    device = await device_of(bob)
    path = f"v3/devices/{bob.device_id}"
    (await bob.put(path, {"display_name": "Phone"})).ok()
    shown = (await query(alice, bob))["device_keys"][bob.user_id]
    expected = device.keys() | {"unsigned": {"device_display_name": "Phone"}}
    assert shown == {bob.device_id: expected}


async def test_only_the_devices_that_were_asked_for_are_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(bob)
    keyless = await homes.second_device(bob)
    for client in (bob, phone):
        await device_of(client)
    asked = [phone.device_id, keyless.device_id, "GONE"]
    body: dict[str, Any] = {"device_keys": {bob.user_id: asked}}
    shown = (await alice.post("v3/keys/query", body)).ok()["device_keys"]
    assert shown[bob.user_id].keys() == {phone.device_id}
    shown = (await query(alice, bob, alice))["device_keys"]
    assert shown[bob.user_id].keys() == {bob.device_id, phone.device_id}
    assert shown[alice.user_id] == {}


async def test_nothing_is_told_of_users_who_do_not_exist(homes: Homes) -> None:
    alice = await homes.user()
    body: dict[str, Any] = {"device_keys": {"@nobody:test": []}}
    answer = (await alice.post("v3/keys/query", body)).ok()
    assert (answer["device_keys"], answer["failures"]) == ({}, {})


async def test_keys_may_change_and_go_with_their_device(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    phone = await homes.second_device(bob)
    device = await device_of(phone)
    (await device.upload(device_keys=device.keys("m.other"), one_time_keys=one_time_keys(1))).ok()
    shown = (await query(alice, bob))["device_keys"][bob.user_id][phone.device_id]
    assert shown["algorithms"] == ["m.other"]
    (await phone.post("v3/logout")).ok()
    assert (await query(alice, bob))["device_keys"][bob.user_id] == {}
    assert await claim(alice, phone) == {}


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"user_id": "@other:test"}, "M_INVALID_PARAM"),
        ({"device_id": "OTHER"}, "M_INVALID_PARAM"),
        ({"algorithms": None}, "M_BAD_JSON"),
        ({"algorithms": [1]}, "M_BAD_JSON"),
        ({"keys": []}, "M_BAD_JSON"),
        ({"keys": {"ed25519:A": 1}}, "M_BAD_JSON"),
        ({"signatures": None}, "M_BAD_JSON"),
        ({"algorithms": ["m.forged"]}, "M_INVALID_SIGNATURE"),
        ({"keys": {}}, "M_INVALID_SIGNATURE"),
    ],
)
async def test_keys_that_cannot_be_the_devices_are_refused(
    homes: Homes, change: dict[str, Any], errcode: str
) -> None:
    device = Device(await homes.user())
    (await device.upload(device_keys=device.keys() | change)).refused(400, errcode)


async def test_each_one_time_key_is_given_away_once_in_the_order_of_uploads(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    device = Device(bob)
    for numbers in ((7,), (3, 4), (1,)):
        (await device.upload(one_time_keys=one_time_keys(*numbers))).ok()
    given: list[str] = []
    for _ in range(4):
        given += (await claim(alice, bob))[bob.device_id]
    assert given[0] == f"{CURVE}:7"
    assert {*given[1:3]} == {f"{CURVE}:3", f"{CURVE}:4"}
    assert given[3] == f"{CURVE}:1"
    assert await claim(alice, bob) == {}


async def test_many_who_claim_at_once_get_different_keys(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await Device(bob).upload(one_time_keys=one_time_keys(*range(20)))).ok()
    claims = await asyncio.gather(*(claim(alice, bob) for _ in range(30)))
    given = [key_id for keys in claims for key_id in keys.get(bob.device_id, ())]
    assert sorted(given) == sorted(one_time_keys(*range(20)))


async def test_a_fallback_key_is_given_when_no_other_is_left_and_again(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    device = Device(bob)
    fallback = {f"{CURVE}:f": {"key": "fallback", "fallback": True}}
    (await device.upload(one_time_keys=one_time_keys(1), fallback_keys=fallback)).ok()
    assert await counts(bob) == ({CURVE: 1}, [CURVE])
    assert await claim(alice, bob) == {bob.device_id: one_time_keys(1)}
    assert await counts(bob) == ({CURVE: 0}, [CURVE])
    for _ in range(2):
        assert await claim(alice, bob) == {bob.device_id: fallback}
        assert await counts(bob) == ({CURVE: 0}, [])
    (await device.upload(fallback_keys=fallback)).ok()
    assert await counts(bob) == ({CURVE: 0}, []), "it is the same key, and it is used"
    other = {f"{CURVE}:g": {"key": "other", "fallback": True}}
    (await device.upload(fallback_keys=other)).ok()
    assert await counts(bob) == ({CURVE: 0}, [CURVE])
    assert await claim(alice, bob) == {bob.device_id: other}


async def test_a_key_that_is_there_already_stays_as_it_is(homes: Homes) -> None:
    device = Device(await homes.user())
    for _ in range(2):
        answer = (await device.upload(one_time_keys=one_time_keys(1, 2))).ok()
        assert answer == {"one_time_key_counts": {CURVE: 2}}
    other = {f"{CURVE}:2": {"key": "another"}, f"{CURVE}:3": {"key": "key 3"}}
    refused = (await device.upload(one_time_keys=other)).refused(400, "M_INVALID_PARAM")
    # Element X tells its user of this, whom it costs messages; it goes by the text.
    assert refused["error"] == (
        "One time key signed_curve25519:2 already exists. "
        'Old key: {"key":"key 2"}; new key: {"key":"another"}'
    )
    assert (await device.upload()).ok() == {"one_time_key_counts": {CURVE: 2}}


async def test_keys_are_counted_by_algorithm(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    keys = one_time_keys(1, 2) | one_time_keys(1, algorithm="m.other")
    answer = (await Device(bob).upload(one_time_keys=keys)).ok()
    assert answer == {"one_time_key_counts": {CURVE: 2, "m.other": 1}}
    assert (await counts(bob))[0] == {CURVE: 2, "m.other": 1}
    assert await claim(alice, bob, algorithm="m.third") == {}
    assert await claim(alice, bob, algorithm="m.other") == {
        bob.device_id: one_time_keys(1, algorithm="m.other")
    }


async def test_keys_that_are_claimed_by_way_of_another_process_are_not_counted_any_more(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await Device(bob).upload(one_time_keys=one_time_keys(1, 2))).ok()
    assert (await counts(bob))[0] == {CURVE: 2}
    async with (
        running(homes.services.settings) as server,
        aiohttp.ClientSession() as session,
    ):
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = alice.token, alice.user_id
        assert len(await claim(there, bob)) == 1
        async with asyncio.timeout(PATIENCE_S):
            while (await counts(bob))[0] != {CURVE: 1}:
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "keys",
    [
        {"no colon": {}},
        {":1": {}},
        {"a:1": 7},
        {"a:\0": {}},
        {"a:" + "x" * 300: {}},
    ],
)
async def test_what_is_no_one_time_key_is_refused(homes: Homes, keys: dict[str, Any]) -> None:
    device = Device(await homes.user())
    (await device.upload(one_time_keys=keys)).refused(400, "M_BAD_JSON")
    (await device.upload(fallback_keys=keys)).refused(400, "M_BAD_JSON")


async def test_keys_have_limits(homes: Homes) -> None:
    device = Device(await homes.user())
    many = one_time_keys(*range(MAX_KEYS + 1))
    (await device.upload(one_time_keys=many)).refused(400, "M_INVALID_PARAM")
    (await device.upload(fallback_keys=one_time_keys(1, 2))).refused(400, "M_INVALID_PARAM")
    for n in range(5):
        first = n * MAX_KEYS
        keys = one_time_keys(*range(first, first + MAX_KEYS))
        (await device.upload(one_time_keys=keys)).ok()
    (await device.upload(one_time_keys=one_time_keys(-1))).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("query", {"device_keys": {"@a:test": {"D": True}}}),
        ("query", {"device_keys": {"@a:test": [1]}}),
        ("query", {"device_keys": {"@a:test": ["\0"]}}),
        ("query", {"device_keys": []}),
        ("query", {"device_keys": {}, "timeout": "1"}),
        ("claim", {"one_time_keys": {"@a:test": []}}),
        ("claim", {"one_time_keys": {"@a:test": {"D": 1}}}),
        ("claim", {"one_time_keys": {"@a:test": {"\0": "a"}}}),
    ],
)
async def test_questions_that_are_none_are_refused(
    homes: Homes, path: str, body: dict[str, Any]
) -> None:
    (await (await homes.user()).post(f"v3/keys/{path}", body)).refused(400, "M_BAD_JSON")
