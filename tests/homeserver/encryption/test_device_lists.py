"""Whose devices have changed, as /sync and /keys/changes tell it."""

import asyncio
from typing import Any
from urllib.parse import quote

import aiohttp

from homeserver.app import running
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.device import device_of
from tests.patience import LONG_POLL_MS, PATIENCE_S

NOTHING: dict[str, list[str]] = {"changed": [], "left": []}


def lists(answer: Any) -> Any:
    return answer.get("device_lists", NOTHING)


def changed(*users: Client) -> Any:
    return {"changed": sorted(user.user_id for user in users), "left": []}


def left(*users: Client) -> Any:
    return {"changed": [], "left": sorted(user.user_id for user in users)}


async def changes(client: Client, since: str) -> Any:
    to = (await client.sync())["next_batch"]
    return (await client.get("v3/keys/changes", **{"from": since, "to": to})).ok()


async def token(client: Client) -> str:
    return str((await client.sync())["next_batch"])


async def share_room(*users: Client) -> str:
    room_id = await users[0].create_room(preset="public_chat")
    for user in users[1:]:
        await user.join(room_id)
    return room_id


async def check(client: Client, since: str, expected: Any) -> None:
    """Both ways of asking tell the same."""
    assert lists(await client.sync(since)) == expected
    assert await changes(client, since) == expected


async def test_new_keys_are_told_to_those_who_share_a_room_and_to_the_user(
    homes: Homes,
) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    await share_room(alice, bob)
    since = await token(alice)
    await device_of(bob)
    await check(alice, since, changed(bob))
    await check(bob, since, changed(bob))
    await check(carol, since, NOTHING)
    await check(alice, await token(alice), NOTHING)


async def test_a_device_without_keys_is_not_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    since = await token(alice)
    await homes.second_device(bob)
    await check(alice, since, NOTHING)


async def test_the_same_keys_again_are_not_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    await device_of(bob)
    since = await token(alice)
    await device_of(bob)
    await check(alice, since, NOTHING)


async def test_a_waiting_sync_is_woken(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    waiting = asyncio.create_task(alice.sync(await token(alice), timeout_ms=LONG_POLL_MS))
    await device_of(bob)
    async with asyncio.timeout(PATIENCE_S):
        assert lists(await waiting) == changed(bob)


async def test_a_device_that_goes_or_gets_a_name_is_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    phone = await homes.second_device(bob)
    await device_of(phone)
    since = await token(alice)
    (await bob.put(f"v3/devices/{phone.device_id}", {"display_name": "Phone"})).ok()
    await check(alice, since, changed(bob))
    since = await token(alice)
    (await phone.post("v3/logout")).ok()
    await check(alice, since, changed(bob))


async def test_who_comes_into_a_room_is_told_to_those_in_it_and_they_to_them(
    homes: Homes,
) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room_id = await share_room(alice, carol)
    since = await token(alice)
    await bob.join(room_id)
    await check(alice, since, changed(bob))
    await check(bob, since, changed(alice, bob, carol))


async def test_who_shares_a_room_already_is_not_told_for_another_one(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    second = await share_room(alice)
    since = await token(alice)
    await bob.join(second)
    await check(alice, since, NOTHING)
    await check(bob, since, changed(bob))


async def test_a_new_name_of_somebody_is_not_told_as_new_devices(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    since = await token(alice)
    (await bob.put(f"v3/profile/{bob.user_id}/displayname", {"displayname": "B"})).ok()
    await check(alice, since, NOTHING)
    await check(bob, since, NOTHING)


async def test_who_is_met_nowhere_any_more_is_told_as_left(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    first = await share_room(alice, bob, carol)
    second = await share_room(alice, bob)
    since = await token(alice)
    for user in (bob, carol):
        (await user.post(f"v3/rooms/{first}/leave")).ok()
    await check(alice, since, left(carol))
    await check(carol, since, left(alice, bob))
    since = await token(alice)
    (await alice.post(f"v3/rooms/{second}/leave")).ok()
    await check(alice, since, left(bob))
    await check(bob, since, left(alice))
    since = await token(alice)
    await device_of(bob)
    await check(alice, since, NOTHING)


async def test_who_turns_down_an_invite_has_not_left(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await share_room(alice)
    since = await token(alice)
    await alice.invite(room_id, bob.user_id)
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    await check(alice, since, NOTHING)
    await check(bob, since, NOTHING)


async def test_who_was_away_between_two_syncs_is_told_as_changed(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await share_room(alice, bob)
    since = await token(alice)
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    await bob.join(room_id)
    await check(alice, since, changed(bob))


async def test_whoever_goes_and_comes_back_between_two_syncs_looks_at_everybody(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await share_room(alice, bob)
    since = await token(bob)
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    await bob.join(room_id)
    await check(bob, since, changed(alice, bob))


async def test_who_is_put_out_and_invited_again_has_left(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await share_room(alice, bob)
    since, since_of_bob = await token(alice), await token(bob)
    (await alice.post(f"v3/rooms/{quote(room_id)}/kick", {"user_id": bob.user_id})).ok()
    await alice.invite(room_id, bob.user_id)
    await check(alice, since, left(bob))
    await check(bob, since_of_bob, left(alice))


async def test_changes_are_told_by_a_server_that_has_just_been_started(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await share_room(alice, bob)
    since = await token(alice)
    await device_of(bob)
    async with (
        running(homes.services.settings) as server,
        aiohttp.ClientSession() as session,
    ):
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = alice.token, alice.user_id
        waiting_since = (await there.sync(since))["next_batch"]
        await check(there, since, changed(bob))
        waiting = asyncio.create_task(there.sync(waiting_since, timeout_ms=LONG_POLL_MS))
        (await bob.put(f"v3/devices/{bob.device_id}", {"display_name": "B"})).ok()
        async with asyncio.timeout(PATIENCE_S):
            assert lists(await waiting) == changed(bob)


async def test_the_time_that_is_asked_about_has_to_be_given(homes: Homes) -> None:
    alice = await homes.user()
    since = await token(alice)
    (await alice.get("v3/keys/changes", to=since)).refused(400, "M_MISSING_PARAM")
    bad = await alice.get("v3/keys/changes", **{"from": "x", "to": since})
    bad.refused(400, "M_INVALID_PARAM")
