"""Tokens that users ask their homeserver for (MSC4195)."""

from typing import Any

import pytest

from homeserver.calls.livekit_names import device_identity, participant_identity, room_name
from tests.homeserver.calls.conftest import SLOT, CallingHomes
from tests.homeserver.calls.played_livekit import URL, opened
from tests.homeserver.conftest import Homes

PATHS = (
    "v1/rtc/livekit/get_token",
    "unstable/io.element.msc4195/rtc/livekit/get_token",
)


def request_for(room_id: str, **changes: Any) -> dict[str, Any]:
    request = {"url": URL, "room_id": room_id, "slot_id": SLOT, "member_id": "member"}
    return request | changes


@pytest.mark.parametrize("path", PATHS)
async def test_a_member_of_the_room_is_given_a_token(calling: CallingHomes, path: str) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    (token,) = (await alice.post(path, request_for(room_id, server_name="test"))).ok().values()
    claims = opened(token)
    assert claims["sub"] == participant_identity(alice.user_id, "member")
    assert claims["video"] == {
        "room": room_name(room_id, SLOT),
        "roomCreate": False,
        "roomJoin": True,
        "canPublish": True,
        "canSubscribe": True,
        "canUpdateOwnMetadata": False,
        "hidden": False,
    }
    assert [room["name"] for room in calling.livekit.rooms] == [room_name(room_id, SLOT)]


async def test_clients_of_before_name_their_device_and_no_url(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    request = request_for(room_id, url=None, member_id=None)
    request["member"] = {"id": "member", "claimed_device_id": "D"}
    token = (await alice.post(PATHS[1], request)).ok()["jwt"]
    assert opened(token)["sub"] == device_identity(alice.user_id, "D", "member")
    request["member"]["claimed_user_id"] = "@bob:test"
    (await alice.post(PATHS[1], request)).refused(403, "M_FORBIDDEN")


async def test_only_who_is_in_the_room_is_given_one(calling: CallingHomes) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room(invite=[bob.user_id])
    (await bob.post(PATHS[0], request_for(room_id))).refused(403, "M_FORBIDDEN")
    (await alice.post(PATHS[0], request_for("!made:up"))).refused(403, "M_FORBIDDEN")
    await bob.join(room_id)
    (await bob.post(PATHS[0], request_for(room_id))).ok()
    (await bob.post(f"v3/rooms/{room_id}/leave")).ok()
    (await bob.post(PATHS[0], request_for(room_id))).refused(403, "M_FORBIDDEN")
    (await calling.homes.nobody().post(PATHS[0])).refused(401, "M_MISSING_TOKEN")


async def test_a_guest_in_the_room_is_given_one(calling: CallingHomes) -> None:
    alice, guest = await calling.user("alice"), calling.homes.nobody()
    room_id = await alice.create_room(preset="public_chat")
    await alice.set_state(room_id, "m.room.guest_access", {"guest_access": "can_join"})
    Homes.log_in(guest, (await guest.post("v3/register", kind="guest")).ok())
    await guest.join(room_id)
    (await guest.post(PATHS[0], request_for(room_id))).ok()


async def test_livekit_servers_of_others_are_not_ours(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    other = request_for(room_id, url="wss://other.test")
    (await alice.post(PATHS[0], other)).refused(400, "M_INVALID_PARAM")
    elsewhere = request_for(room_id, server_name="elsewhere.test")
    (await alice.post(PATHS[0], elsewhere)).refused(502, "M_UNKNOWN")
    nowhere = request_for(room_id, server_name="not a name")
    (await alice.post(PATHS[0], nowhere)).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize("name", ["room_id", "slot_id", "member_id"])
async def test_everything_must_be_named(calling: CallingHomes, name: str) -> None:
    alice = await calling.user("alice")
    request = request_for(await alice.create_room())
    (await alice.post(PATHS[0], {**request, name: ""})).refused(400, "M_MISSING_PARAM")
    (await alice.post(PATHS[0], {**request, name: 1})).refused(400, "M_BAD_JSON")
    (await alice.post(PATHS[0], {**request, name: "a" * 600})).refused(400, "M_BAD_JSON")


async def test_without_livekit_the_error_is_clear(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    calling.livekit.is_broken = True
    answer = await alice.post(PATHS[0], request_for(room_id))
    assert answer.refused(500, "M_UNKNOWN")["error"] == "Unable to create room on SFU"


@pytest.mark.parametrize("path", PATHS)
async def test_where_there_are_no_calls_there_are_no_tokens(homes: Homes, path: str) -> None:
    (await (await homes.user()).post(path)).refused(404, "M_UNRECOGNIZED")
