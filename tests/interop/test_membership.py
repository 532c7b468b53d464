"""Entering and leaving rooms of the other server."""

import pytest

from tests.interop.conftest import Cast, only_where
from tests.interop.rooms import (
    VERSIONS,
    agreed_state,
    ban,
    content_of,
    join_by_way_of,
    kick,
    leave,
    share_a_room,
    unban,
)

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("room_version", VERSIONS)
async def test_who_is_invited_joins_talks_and_leaves(cast: Cast, room_version: str) -> None:
    alice, bob = cast.alice, cast.bob
    room_id = await alice.create_room(room_version=room_version, name="Tea", invite=[bob.user_id])
    await cast.bobs.until_standing(room_id, "invite")
    shown = {event["type"]: event["content"] for event in cast.bobs.stripped[room_id]}
    assert shown["m.room.name"] == {"name": "Tea"}
    await bob.join(room_id)
    await cast.alices.until_membership(room_id, bob.user_id, "join")
    assert await content_of(bob, room_id, "m.room.create") == await content_of(
        alice, room_id, "m.room.create"
    )
    await cast.bobs.until_event(room_id, await alice.send(room_id, "welcome"))
    await cast.alices.until_event(room_id, await bob.send(room_id, "thanks"))
    await agreed_state(alice, bob, room_id)
    await leave(bob, room_id)
    await cast.alices.until_membership(room_id, bob.user_id, "leave")


@pytest.mark.parametrize("room_version", VERSIONS)
async def test_a_public_room_is_joined_and_both_have_its_state(
    cast: Cast, room_version: str
) -> None:
    room_id = await share_a_room(
        cast.alice, cast.bob, cast.host.name, room_version=room_version, topic="open to all"
    )
    state = await agreed_state(cast.alice, cast.bob, room_id)
    assert ("m.room.member", cast.bob.user_id) in state


@pytest.mark.parametrize("room_version", ["11", "12"])
async def test_a_direct_chat_goes_both_ways(cast: Cast, room_version: str) -> None:
    alice, bob = cast.alice, cast.bob
    room_id = await alice.create_room(
        room_version=room_version,
        preset="trusted_private_chat",
        is_direct=True,
        invite=[bob.user_id],
    )
    await cast.bobs.until_standing(room_id, "invite")
    invite = [e for e in cast.bobs.stripped[room_id] if e.get("state_key") == bob.user_id][-1]
    assert (invite["sender"], invite["content"]["is_direct"]) == (alice.user_id, True)
    await bob.join(room_id)
    await cast.bobs.until_event(room_id, await alice.send(room_id, "only you"))
    await cast.alices.until_event(room_id, await bob.send(room_id, "and you"))
    # Both rule the room: as much as Alice may, Bob may.
    await bob.set_state(room_id, "m.room.name", {"name": "Us"})
    await agreed_state(alice, bob, room_id)


async def test_an_invite_is_rejected(cast: Cast) -> None:
    room_id = await cast.alice.create_room(invite=[cast.bob.user_id])
    await cast.bobs.until_standing(room_id, "invite")
    await leave(cast.bob, room_id)
    await cast.alices.until_membership(room_id, cast.bob.user_id, "leave")
    await cast.bobs.until_standing(room_id, "leave")


async def test_an_invite_is_taken_back(cast: Cast) -> None:
    room_id = await cast.alice.create_room(invite=[cast.bob.user_id])
    await cast.bobs.until_standing(room_id, "invite")
    await kick(cast.alice, room_id, cast.bob.user_id)
    await cast.bobs.until_standing(room_id, "leave")
    (await cast.bob.post(f"v3/join/{room_id}", server_name=cast.host.name)).refused(
        403, "M_FORBIDDEN"
    )


async def test_who_was_kicked_may_come_back(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    await kick(cast.alice, room_id, cast.bob.user_id)
    await cast.bobs.until_standing(room_id, "leave")
    await join_by_way_of(cast.bob, room_id, cast.host.name)
    await cast.alices.until_membership(room_id, cast.bob.user_id, "join")
    await agreed_state(cast.alice, cast.bob, room_id)


async def test_who_was_banned_stays_out_until_unbanned(cast: Cast) -> None:
    room_id = await share_a_room(cast.alice, cast.bob, cast.host.name)
    await ban(cast.alice, room_id, cast.bob.user_id)
    await cast.bobs.until_standing(room_id, "leave")
    join = f"v3/join/{room_id}"
    (await cast.bob.post(join, server_name=cast.host.name)).refused(403, "M_FORBIDDEN")
    await unban(cast.alice, room_id, cast.bob.user_id)
    await join_by_way_of(cast.bob, room_id, cast.host.name)
    await agreed_state(cast.alice, cast.bob, room_id)


async def test_the_guest_kicks_and_bans_users_of_the_host(cast: Cast) -> None:
    levels = {"users": {cast.alice.user_id: 100, cast.bob.user_id: 100}}
    room_id = await share_a_room(
        cast.alice,
        cast.bob,
        cast.host.name,
        room_version="11",
        power_level_content_override=levels,
    )
    carol, dave = await cast.host.user("carol"), await cast.host.user("dave")
    for client in (carol, dave):
        await client.join(room_id)
        await cast.bobs.until_membership(room_id, client.user_id, "join")
    await kick(cast.bob, room_id, carol.user_id)
    await ban(cast.bob, room_id, dave.user_id)
    await cast.alices.until_membership(room_id, carol.user_id, "leave")
    await cast.alices.until_membership(room_id, dave.user_id, "ban")
    await agreed_state(cast.alice, cast.bob, room_id)


@pytest.mark.parametrize("room_version", ["10", "12"])
async def test_who_knocks_is_let_in(cast: Cast, room_version: str) -> None:
    alice, bob = cast.alice, cast.bob
    room_id = await knock_room(cast, room_version)
    knock = {"reason": "it rains"}
    (await bob.post(f"v3/knock/{room_id}", knock, server_name=cast.host.name)).ok()
    await cast.bobs.until_standing(room_id, "knock")
    event = await cast.alices.until_membership(room_id, bob.user_id, "knock")
    assert event["content"]["reason"] == "it rains"
    await alice.invite(room_id, bob.user_id)
    await cast.bobs.until_standing(room_id, "invite")
    await bob.join(room_id)
    await cast.alices.until_membership(room_id, bob.user_id, "join")
    await agreed_state(alice, bob, room_id)


@only_where("synapse")
async def test_a_knock_is_taken_back(cast: Cast) -> None:
    # The other way round the host never hears of it: Synapse keeps the end of a knock to itself.
    room_id = await knock_room(cast, "12")
    (await cast.bob.post(f"v3/knock/{room_id}", server_name=cast.host.name)).ok()
    await cast.alices.until_membership(room_id, cast.bob.user_id, "knock")
    await leave(cast.bob, room_id)
    await cast.alices.until_membership(room_id, cast.bob.user_id, "leave")


async def test_who_was_turned_down_may_knock_again(cast: Cast) -> None:
    # That the knock was turned down is not seen by the guest: Synapse neither tells servers that
    # are not in the room, nor takes it from them.
    room_id = await knock_room(cast, "11")
    knock = f"v3/knock/{room_id}"
    (await cast.bob.post(knock, server_name=cast.host.name)).ok()
    await cast.alices.until_membership(room_id, cast.bob.user_id, "knock")
    await kick(cast.alice, room_id, cast.bob.user_id)
    await cast.alices.until_membership(room_id, cast.bob.user_id, "leave")
    (await cast.bob.post(knock, server_name=cast.host.name)).ok()
    await cast.alices.until_membership(room_id, cast.bob.user_id, "knock")


async def knock_room(cast: Cast, room_version: str) -> str:
    """A room that one may knock on."""
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    return await cast.alice.create_room(room_version=room_version, initial_state=[rule])


@pytest.mark.parametrize("room_version", ["10", "12"])
async def test_members_of_one_room_may_join_another_that_the_host_authorises(
    cast: Cast, room_version: str
) -> None:
    alice, bob, via = cast.alice, cast.bob, cast.host.name
    club = await alice.create_room(preset="public_chat", room_version=room_version)
    allow = [{"type": "m.room_membership", "room_id": club}]
    rule = {
        "type": "m.room.join_rules",
        "state_key": "",
        "content": {"join_rule": "restricted", "allow": allow},
    }
    room_id = await alice.create_room(room_version=room_version, initial_state=[rule])
    join = f"v3/join/{room_id}"
    (await bob.post(join, server_name=via, via=via)).refused(403, "M_FORBIDDEN")
    await join_by_way_of(bob, club, via)
    await cast.alices.until_membership(club, bob.user_id, "join")
    await join_by_way_of(bob, room_id, via)
    event = await cast.alices.until_membership(room_id, bob.user_id, "join")
    assert event["content"]["join_authorised_via_users_server"] == alice.user_id
    # The guest's server has a member now, yet nobody of it may invite: it has to ask again.
    carol = await cast.guest.user("carol")
    await join_by_way_of(carol, club, via)
    await join_by_way_of(carol, room_id, via)
    await cast.alices.until_membership(room_id, carol.user_id, "join")
    await agreed_state(alice, bob, room_id)


async def test_a_join_is_refused_where_nobody_was_invited(cast: Cast) -> None:
    room_id = await cast.alice.create_room(preset="private_chat")
    answer = await cast.bob.post(f"v3/join/{room_id}", server_name=cast.host.name)
    answer.refused(403, "M_FORBIDDEN")
    assert (await cast.bob.get("v3/joined_rooms")).ok() == {"joined_rooms": []}
