import asyncio
from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.rooms.asking import state_content, state_types

VERSIONS = [str(number) for number in range(1, 13)]


async def test_rooms_of_all_versions_can_be_created_joined_and_written_in(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    for version in VERSIONS:
        room = await alice.create_room(preset="public_chat", room_version=version, name="Pub")
        assert await bob.join(room) == room
        await bob.send(room, "hello")
        create = await state_content(alice, room, "m.room.create")
        assert create["room_version"] == version
        assert ("creator" in create) == (int(version) < 11)


async def test_rooms_created_at_once_by_one_user_are_different_rooms(homes: Homes) -> None:
    alice = await homes.user()
    rooms = await asyncio.gather(*(alice.create_room(room_version="12") for _ in range(20)))
    assert len(set(rooms)) == 20


async def test_first_events_come_in_the_order_of_the_specification(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(
        preset="private_chat",
        room_alias_name="pub",
        name="Pub",
        topic="Beer",
        invite=[bob.user_id],
        initial_state=[{"type": "org.example", "content": {"n": 1}}],
    )
    assert await state_types(alice, room) == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "org.example",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    topic = await state_content(alice, room, "m.room.topic")
    assert topic == {"topic": "Beer", "m.topic": {"m.text": [{"body": "Beer"}]}}
    assert await state_content(alice, room, "m.room.canonical_alias") == {"alias": "#pub:test"}


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
async def test_presets(homes: Homes, preset: str, join_rule: str, guest_access: str) -> None:
    alice = await homes.user()
    room = await alice.create_room(preset=preset)
    rules = await state_content(alice, room, "m.room.join_rules")
    guests = await alice.get(f"v3/rooms/{room}/state/m.room.guest_access/")
    history = await state_content(alice, room, "m.room.history_visibility")
    assert rules == {"join_rule": join_rule}
    if guest_access == "forbidden":
        # That is what a room without the event means.
        guests.refused(404, "M_NOT_FOUND")
    else:
        assert guests.ok() == {"guest_access": guest_access}
    assert history == {"history_visibility": "shared"}


async def test_initial_state_goes_before_the_preset_and_after_name_and_topic(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(
        preset="public_chat",
        name="Right",
        initial_state=[
            {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
            {"type": "m.room.name", "state_key": "", "content": {"name": "Wrong"}},
        ],
    )
    assert await state_content(alice, room, "m.room.join_rules") == {"join_rule": "knock"}
    assert await state_content(alice, room, "m.room.name") == {"name": "Right"}
    assert (await state_types(alice, room)).count("m.room.join_rules") == 1


async def test_creation_content_is_kept_but_for_version_and_creator(homes: Homes) -> None:
    alice = await homes.user()
    content = {"m.federate": False, "room_version": "test", "creator": "@x:test", "type": "t"}
    room = await alice.create_room(creation_content=content, room_version="11")
    create = await state_content(alice, room, "m.room.create")
    assert create == {"m.federate": False, "room_version": "11", "type": "t"}


async def test_trusted_invitees_rank_like_the_creator(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    options: dict[str, Any] = {"preset": "trusted_private_chat", "invite": [bob.user_id]}
    old = await alice.create_room(room_version="11", **options)
    levels = await state_content(alice, old, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, bob.user_id: 100}
    new = await alice.create_room(
        room_version="12", creation_content={"additional_creators": [carol.user_id]}, **options
    )
    levels = await state_content(alice, new, "m.room.power_levels")
    create = await state_content(alice, new, "m.room.create")
    assert levels["users"] == {}
    assert create["additional_creators"] == [carol.user_id, bob.user_id]


async def test_a_tombstone_takes_more_than_other_state_in_version_12(homes: Homes) -> None:
    alice = await homes.user()
    for override in ({}, {"events": {"m.call": 0}}, {"events": {}, "state_default": 200}):
        room = await alice.create_room(room_version="12", power_level_content_override=override)
        levels = await state_content(alice, room, "m.room.power_levels")
        assert levels["events"]["m.room.tombstone"] > levels["state_default"]
        assert levels["events"]["m.room.tombstone"] >= 150


async def test_invites_to_a_direct_chat_say_so(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(is_direct=True, invite=[bob.user_id, bob.user_id])
    member = await state_content(alice, room, "m.room.member", bob.user_id)
    assert (member["membership"], member["is_direct"]) == ("invite", True)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"room_version": 1}, "M_BAD_JSON"),
        ({"room_version": "none"}, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"visibility": "secret"}, "M_INVALID_PARAM"),
        ({"preset": "none"}, "M_INVALID_PARAM"),
        ({"invite": "@a:test"}, "M_BAD_JSON"),
        ({"invite": ["a"]}, "M_INVALID_PARAM"),
        ({"room_alias_name": "a:b"}, "M_INVALID_PARAM"),
        ({"room_alias_name": ""}, "M_INVALID_PARAM"),
        ({"room_alias_name": "x" * 300}, "M_INVALID_PARAM"),
        ({"name": 1}, "M_BAD_JSON"),
        ({"initial_state": {}}, "M_BAD_JSON"),
        ({"initial_state": [{"type": "t"}]}, "M_MISSING_PARAM"),
        ({"initial_state": [{"type": "m.room.create", "content": {}}]}, "M_INVALID_ROOM_STATE"),
        ({"initial_state": [{"type": "t", "content": {"n": 1.5}}]}, "M_BAD_JSON"),
        ({"power_level_content_override": {"users": {"@user1:test": 100}}}, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"ban": "x"}}, "M_INVALID_ROOM_STATE"),
        ({"creation_content": {"additional_creators": "x"}}, "M_INVALID_ROOM_STATE"),
        ({"creation_content": {"additional_creators": ["@a:b$"]}}, "M_INVALID_ROOM_STATE"),
        (
            {
                "room_version": "11",
                "name": "x",
                "power_level_content_override": {"users": {"@user1:test": 10}},
            },
            "M_INVALID_ROOM_STATE",
        ),
    ],
)
async def test_wrong_requests_create_nothing(
    homes: Homes, body: dict[str, Any], errcode: str
) -> None:
    alice = await homes.user()
    (await alice.post("v3/createRoom", body)).refused(400, errcode)
    assert (await alice.get("v3/joined_rooms")).ok() == {"joined_rooms": []}
    assert await homes.services.db.fetchval("SELECT count(*) FROM rooms") == 0


async def test_an_alias_is_taken_once(homes: Homes) -> None:
    alice = await homes.user()
    bodies = [{"room_alias_name": "pub"} for _ in range(5)]
    answers = await asyncio.gather(*(alice.post("v3/createRoom", body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]
    refused = [answer for answer in answers if answer.status == 400]
    assert {answer.body["errcode"] for answer in refused} == {"M_ROOM_IN_USE"}
    assert await homes.services.db.fetchval("SELECT count(*) FROM rooms") == 1


async def test_invites_by_unknown_identity_servers_are_refused(homes: Homes) -> None:
    alice = await homes.user()
    invite = {"id_server": "id", "id_access_token": "t", "medium": "email", "address": "a@b"}
    answer = await alice.post("v3/createRoom", {"invite_3pid": [invite]})
    answer.refused(400, "M_SERVER_NOT_TRUSTED")
    room = await alice.create_room()
    refused = await alice.post(f"v3/rooms/{room}/invite", invite)
    refused.refused(400, "M_SERVER_NOT_TRUSTED")


async def test_users_who_take_no_invites_are_not_invited(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await block_invites(bob)
    (await alice.post("v3/createRoom", {"invite": [bob.user_id]})).refused(403, "M_INVITE_BLOCKED")
    room = await alice.create_room()
    answer = await alice.post(f"v3/rooms/{room}/invite", {"user_id": bob.user_id})
    answer.refused(403, "M_INVITE_BLOCKED")
    path = f"v3/rooms/{room}/state/m.room.member/{bob.user_id}"
    answer = await alice.put(path, {"membership": "invite"})
    answer.refused(403, "M_INVITE_BLOCKED")


async def block_invites(client: Client) -> None:
    path = f"v3/user/{client.user_id}/account_data/m.invite_permission_config"
    (await client.put(path, {"default_action": "block"})).ok()
