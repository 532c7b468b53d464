import asyncio
from typing import Any

import pytest

from federation.protocol.identifiers import UserId
from federation.protocol.signatures import sign_json, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.rooms.asking import membership, state_content, whole_state


async def act(client: Client, room: str, action: str, target: str, **body: Any) -> Answer:
    return await client.post(f"v3/rooms/{room}/{action}", {"user_id": target, **body})


async def leave(client: Client, room: str, **body: Any) -> Answer:
    return await client.post(f"v3/rooms/{room}/leave", body)


async def test_joining_twice_makes_one_event(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    before = await whole_state(alice, room)
    (await bob.post(f"v3/rooms/{room}/join", {"reason": "again"})).ok()
    assert await whole_state(alice, room) == before


async def test_a_join_by_alias_takes_reason_and_custom_content(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat", room_alias_name="pub")
    body = {"reason": "beer", "foo": "bar", "membership": "ban", "third_party_signed": None}
    assert (await bob.post("v3/join/%23pub:test", body)).ok() == {"room_id": room}
    content = await state_content(alice, room, "m.room.member", bob.user_id)
    assert content == {"membership": "join", "reason": "beer", "foo": "bar"}


async def test_private_rooms_are_joined_by_invite_only(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="private_chat")
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    (await act(alice, room, "invite", bob.user_id)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "invite", alice.user_id)).refused(403, "M_FORBIDDEN")
    (await leave(bob, room, reason="tired")).ok()
    content = await state_content(alice, room, "m.room.member", bob.user_id)
    assert (content["membership"], content["reason"]) == ("leave", "tired")
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")


async def test_rooms_that_are_not_here_are_not_found(homes: Homes) -> None:
    alice = await homes.user()
    for room in ("!none:test", "!none:elsewhere", "%23none:test", "%23none:elsewhere"):
        (await alice.post(f"v3/join/{room}", via="elsewhere")).refused(404, "M_NOT_FOUND")
        (await alice.post(f"v3/knock/{room}")).refused(404, "M_NOT_FOUND")
    (await alice.post("v3/join/none")).refused(400, "M_INVALID_PARAM")
    (await leave(alice, "!none:test")).refused(404, "M_NOT_FOUND")
    (await act(alice, "!none:test", "invite", "@x:test")).refused(404, "M_NOT_FOUND")


async def test_nothing_is_kept_of_rooms_that_are_asked_for_and_are_not_here(homes: Homes) -> None:
    alice = await homes.user()
    for number in range(3):
        path = f"v3/rooms/!nowhere{number}:test/send/m.room.message/1"
        (await alice.put(path, {"body": "hello"})).refused(404, "M_NOT_FOUND")
    assert len(homes.services.send._live._loading) == 0


async def test_users_of_other_servers_cannot_be_reached_without_federation(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await act(alice, room, "invite", "@bob:elsewhere")).refused(403, "M_FORBIDDEN")
    answer = await alice.post("v3/createRoom", {"invite": ["@bob:elsewhere"]})
    answer.refused(403, "M_FORBIDDEN")


async def test_leaving_takes_an_invite_or_a_membership(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(invite=[bob.user_id])
    (await leave(carol, room)).refused(403, "M_FORBIDDEN")
    (await leave(bob, room)).ok()
    (await leave(bob, room)).ok()
    assert await membership(alice, room, bob.user_id) == "leave"


async def test_an_invite_to_a_room_that_everybody_left_can_be_turned_down(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(invite=[bob.user_id])
    (await leave(alice, room)).ok()
    (await leave(bob, room)).ok()


async def test_kicking_takes_power_and_a_member(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    (await act(alice, room, "kick", bob.user_id)).refused(403, "M_FORBIDDEN")
    await bob.join(room)
    await carol.join(room)
    (await act(carol, room, "kick", bob.user_id)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "kick", bob.user_id, reason="noise")).ok()
    content = await state_content(alice, room, "m.room.member", bob.user_id)
    assert content == {"membership": "leave", "reason": "noise"}
    (await act(alice, room, "kick", bob.user_id)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "kick", "bob")).refused(400, "M_INVALID_PARAM")
    (await alice.post(f"v3/rooms/{room}/kick")).refused(400, "M_MISSING_PARAM")


async def test_a_ban_holds_until_it_is_lifted(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await act(bob, room, "ban", alice.user_id)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "unban", bob.user_id)).refused(400, "M_BAD_STATE")
    (await act(alice, room, "ban", bob.user_id, reason="noise")).ok()
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "invite", bob.user_id)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "kick", bob.user_id)).refused(403, "M_FORBIDDEN")
    (await leave(bob, room)).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "unban", bob.user_id)).ok()
    await bob.join(room)


@pytest.mark.parametrize(("version", "rule"), [("7", "knock"), ("10", "knock_restricted")])
async def test_knocking(homes: Homes, version: str, rule: str) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(room_version=version)
    (await bob.post(f"v3/knock/{room}")).refused(403, "M_FORBIDDEN")
    await alice.set_state(room, "m.room.join_rules", {"join_rule": rule})
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")
    for reason in ("let me in", "please"):
        assert (await bob.post(f"v3/knock/{room}", {"reason": reason})).ok() == {"room_id": room}
        content = await state_content(alice, room, "m.room.member", bob.user_id)
        assert (content["membership"], content["reason"]) == ("knock", reason)
    (await leave(bob, room)).ok()
    (await bob.post(f"v3/knock/{room}")).ok()
    (await act(alice, room, "kick", bob.user_id)).ok()
    (await bob.post(f"v3/knock/{room}")).ok()
    await alice.invite(room, bob.user_id)
    (await bob.post(f"v3/knock/{room}")).refused(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.post(f"v3/knock/{room}")).refused(403, "M_FORBIDDEN")
    (await act(alice, room, "ban", bob.user_id)).ok()
    (await bob.post(f"v3/knock/{room}")).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(("version", "rule"), [("8", "restricted"), ("12", "knock_restricted")])
async def test_members_of_an_allowed_room_may_join(homes: Homes, version: str, rule: str) -> None:
    alice, bob = await homes.user(), await homes.user()
    space = await alice.create_room(preset="public_chat")
    condition = {"type": "m.room_membership", "room_id": space}
    rules = {"join_rule": rule, "allow": [condition]}
    room = await alice.create_room(
        preset="public_chat",
        room_version=version,
        initial_state=[{"type": "m.room.join_rules", "content": rules}],
    )
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")
    await bob.join(space)
    await bob.join(room)
    content = await state_content(alice, room, "m.room.member", bob.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id
    renamed = {
        "membership": "join",
        "displayname": "Bobby",
        "join_authorised_via_users_server": "unused",
    }
    await bob.set_state(room, "m.room.member", renamed, bob.user_id)
    content = await state_content(alice, room, "m.room.member", bob.user_id)
    assert content == {"membership": "join", "displayname": "Bobby"}
    (await leave(bob, room)).ok()
    await bob.set_state(room, "m.room.member", {"membership": "join"}, bob.user_id)
    (await leave(bob, room)).ok()
    (await leave(bob, space)).ok()
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    (await leave(bob, room)).ok()
    await bob.join(space)
    for allow in (["invalid"], "invalid"):
        await alice.set_state(room, "m.room.join_rules", {"join_rule": rule, "allow": allow})
        (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")


async def test_somebody_with_the_power_to_invite_must_be_there(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    space = await alice.create_room(preset="public_chat")
    condition = {"type": "m.room_membership", "room_id": space}
    rules = {"join_rule": "restricted", "allow": [condition]}
    room = await alice.create_room(preset="public_chat", room_version="11")
    await carol.join(room)
    await alice.set_state(room, "m.room.join_rules", rules)
    (await leave(alice, room)).ok()
    await bob.join(space)
    (await bob.post(f"v3/join/{room}")).refused(403, "M_FORBIDDEN")


async def test_guests_join_where_they_may_and_go_where_they_no_longer_may(homes: Homes) -> None:
    alice = await homes.user()
    guest = homes.nobody()
    homes.log_in(guest, (await guest.post("v3/register?kind=guest")).ok())
    room = await alice.create_room(preset="public_chat")
    (await guest.post(f"v3/join/{room}")).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    await alice.set_state(room, "m.room.guest_access", {"guest_access": "can_join"})
    await guest.join(room)
    await guest.send(room, "hello")
    await alice.set_state(room, "m.room.guest_access", {"guest_access": "forbidden"})
    assert await membership(alice, room, guest.user_id) == "leave"


async def test_rooms_are_forgotten_after_leaving_only(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat", invite=[bob.user_id])
    (await alice.post(f"v3/rooms/{room}/forget")).refused(400, "M_UNKNOWN")
    (await bob.post(f"v3/rooms/{room}/forget")).refused(400, "M_UNKNOWN")
    (await leave(bob, room)).ok()
    (await bob.post(f"v3/rooms/{room}/forget")).ok()
    (await leave(alice, room)).ok()
    (await alice.post(f"v3/rooms/{room}/forget")).ok()
    (await alice.get(f"v3/rooms/{room}/state")).refused(403, "M_FORBIDDEN")
    (await alice.post("v3/rooms/!none:test/forget")).refused(404, "M_NOT_FOUND")


async def test_joined_rooms_are_those_one_is_in(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    first, second = await alice.create_room(preset="public_chat"), await alice.create_room()
    await alice.invite(second, bob.user_id)
    await bob.join(first)
    assert (await bob.get("v3/joined_rooms")).ok() == {"joined_rooms": [first]}
    await bob.join(second)
    (await leave(bob, first)).ok()
    assert (await bob.get("v3/joined_rooms")).ok() == {"joined_rooms": [second]}


async def test_a_third_party_invite_is_made_good_by_its_signature(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    key, stranger = (signing_key_from_seed("1", bytes([n] * 32)) for n in (1, 2))
    offer = {
        "display_name": "b...@e...",
        "key_validity_url": "https://id/valid",
        "public_key": encode_base64(key.verify_key),
    }
    await alice.set_state(room, "m.room.third_party_invite", offer, "token")
    signed = {"mxid": bob.user_id, "sender": alice.user_id, "token": "token"}
    for wrong in (
        {},
        sign_json(signed, "id", stranger),
        sign_json({**signed, "mxid": alice.user_id}, "id", key),
        sign_json({**signed, "token": "other"}, "id", key),
        sign_json({**signed, "sender": "@alice:elsewhere"}, "id", key),
    ):
        answer = await bob.post(f"v3/join/{room}", {"third_party_signed": wrong})
        answer.refused(403, "M_FORBIDDEN")
    body = {"third_party_signed": sign_json(signed, "id", key)}
    (await bob.post(f"v3/rooms/{room}/join", body)).ok()
    assert await membership(alice, room, bob.user_id) == "join"


async def test_a_new_name_is_shown_in_all_rooms(homes: Homes) -> None:
    alice = await homes.user()
    rooms = await asyncio.gather(*(alice.create_room() for _ in range(3)))
    user_rooms = homes.services.rooms.of_users
    await user_rooms.update_member_profiles(UserId(alice.user_id), "Ally", "mxc://test/a")
    for room in rooms:
        content = await state_content(alice, room, "m.room.member", alice.user_id)
        assert content == {
            "membership": "join",
            "displayname": "Ally",
            "avatar_url": "mxc://test/a",
        }
    await user_rooms.update_member_profiles(UserId(alice.user_id), None, None)
    content = await state_content(alice, rooms[0], "m.room.member", alice.user_id)
    assert content == {"membership": "join"}


async def test_a_user_who_goes_leaves_all_rooms(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    joined = await alice.create_room(preset="public_chat")
    invited = await alice.create_room(invite=[bob.user_id])
    await bob.join(joined)
    await homes.services.rooms.of_users.leave_all_rooms(UserId(bob.user_id))
    for room in (joined, invited):
        assert await membership(alice, room, bob.user_id) == "leave"


async def test_members_set_as_state_obey_the_same_rules(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await alice.set_state(room, "m.room.member", {"membership": "invite"}, bob.user_id)
    await bob.set_state(room, "m.room.member", {"membership": "join"}, bob.user_id)
    await alice.set_state(room, "m.room.member", {"membership": "ban"}, bob.user_id)
    path = f"v3/rooms/{room}/state/m.room.member/"
    answer = await bob.put(path + bob.user_id, {"membership": "join"})
    answer.refused(403, "M_FORBIDDEN")
    (await alice.put(path + "bob", {"membership": "invite"})).refused(400, "M_INVALID_PARAM")
    answer = await alice.put(path + bob.user_id, {"membership": "dance"})
    answer.refused(403, "M_FORBIDDEN")
