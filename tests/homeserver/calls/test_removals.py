"""Whoever is no longer in the room is cut off from its call, and stays so."""

import aiohttp

from homeserver.app import running
from homeserver.calls.livekit_names import participant_identity, plain_identity, room_name
from homeserver.config.settings import Settings
from tests.homeserver.calls.conftest import SLOT, CallingHomes, room_request
from tests.homeserver.calls.played_livekit import SERVICE, URL, PlayedLiveKit
from tests.homeserver.conftest import Client, Homes

GET_TOKEN = "v1/rtc/livekit/get_token"


def requested(room_id: str) -> dict[str, str]:
    return {"url": URL, "room_id": room_id, "slot_id": SLOT, "member_id": "member"}


def member(client: Client, room_id: str) -> tuple[str, str]:
    return room_name(room_id, SLOT), participant_identity(client.user_id, "member")


async def test_whoever_is_banned_is_cut_off_by_all_names(calling: CallingHomes) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    for client in (alice, bob):
        (await client.post(GET_TOKEN, requested(room_id))).ok()
    (await calling.service("sfu/get", await room_request(bob, room_id))).ok()
    (await alice.post(f"v3/rooms/{room_id}/ban", {"user_id": bob.user_id})).ok()
    by_name = (room_name(room_id, SLOT), plain_identity(bob.user_id, bob.device_id))
    removed = {await calling.livekit.next_removal() for _ in range(2)}
    assert removed == {member(bob, room_id), by_name}
    assert calling.livekit.removed.empty()


async def test_whoever_leaves_is_cut_off_from_the_calls_of_that_room_only(
    calling: CallingHomes,
) -> None:
    alice = await calling.user("alice")
    left, kept = await alice.create_room(), await alice.create_room()
    for room_id in (left, kept):
        (await alice.post(GET_TOKEN, requested(room_id))).ok()
    (await alice.post(f"v3/rooms/{left}/leave")).ok()
    assert await calling.livekit.next_removal() == member(alice, left)
    assert calling.livekit.removed.empty()


async def test_whoever_connects_again_by_an_old_token_is_cut_off_again(
    calling: CallingHomes,
) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    for client in (alice, bob):
        (await client.post(GET_TOKEN, requested(room_id))).ok()
        (await calling.tell("participant_joined", *member(client, room_id))).ok()
    (await alice.post(f"v3/rooms/{room_id}/kick", {"user_id": bob.user_id})).ok()
    assert await calling.livekit.next_removal() == member(bob, room_id)
    for client in (alice, bob):
        (await calling.tell("participant_joined", *member(client, room_id))).ok()
    assert await calling.livekit.next_removal() == member(bob, room_id)
    assert calling.livekit.removed.empty()


async def test_whoever_comes_back_to_the_room_may_call_again(calling: CallingHomes) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    for client in (alice, bob):
        await client.join(room_id)
        (await client.post(GET_TOKEN, requested(room_id))).ok()
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    assert await calling.livekit.next_removal() == member(bob, room_id)
    await bob.join(room_id)
    (await bob.post(GET_TOKEN, requested(room_id))).ok()
    (await calling.tell("participant_joined", *member(bob, room_id))).ok()
    (await alice.post(f"v3/rooms/{room_id}/leave")).ok()
    assert await calling.livekit.next_removal() == member(alice, room_id)


async def test_whoever_left_while_livekit_or_the_server_was_away_is_cut_off_later(
    calling_settings: Settings, livekit: PlayedLiveKit
) -> None:
    async with aiohttp.ClientSession() as session:
        async with running(calling_settings) as server:
            alice = await Homes(server, session).user("alice")
            room_id = await alice.create_room()
            (await alice.post(f"{SERVICE}/sfu/get", await room_request(alice, room_id))).ok()
            livekit.is_broken = True
            (await alice.post(f"v3/rooms/{room_id}/leave")).ok()
        livekit.is_broken = False
        async with running(calling_settings):
            by_name = (room_name(room_id, SLOT), plain_identity(alice.user_id, alice.device_id))
            assert await livekit.next_removal() == by_name


async def test_tokens_are_forgotten_after_a_while(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id, other = await alice.create_room(), await alice.create_room()
    for one in (room_id, other):
        (await alice.post(GET_TOKEN, requested(one))).ok()
    db = calling.homes.services.db
    old = room_name(room_id, SLOT)
    await db.execute("UPDATE call_participants SET given_ts = 1 WHERE livekit_room = $1", old)
    for one in (room_id, other):
        (await alice.post(f"v3/rooms/{one}/leave")).ok()
    assert await calling.livekit.next_removal() == member(alice, other)
    assert await db.fetchval("SELECT count(*) FROM call_participants") == 1
