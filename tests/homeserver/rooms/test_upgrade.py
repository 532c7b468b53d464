from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.rooms.asking import membership, state_content, state_types

MAPPING = {
    "m.room.server_acl": {"allow": ["*"], "deny": ["evil"]},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
    "m.room.name": {"name": "Pub"},
    "m.room.avatar": {"url": "mxc://test/a"},
    "m.room.topic": {"topic": "Beer"},
    "m.room.guest_access": {"guest_access": "can_join"},
    "m.room.history_visibility": {"history_visibility": "joined"},
    "m.room.join_rules": {"join_rule": "knock"},
}


async def upgrade(client: Client, room: str, version: str, **body: Any) -> str:
    answer = await client.post(f"v3/rooms/{room}/upgrade", {"new_version": version, **body})
    return str(answer.ok()["replacement_room"])


@pytest.mark.parametrize(("old", "new"), [("9", "10"), ("10", "12"), ("12", "12"), ("12", "11")])
async def test_the_new_room_takes_the_place_of_the_old(homes: Homes, old: str, new: str) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(
        preset="public_chat",
        room_version=old,
        visibility="public",
        room_alias_name="pub",
        creation_content={"type": "m.space", "m.federate": False},
        initial_state=[{"type": t, "content": c} for t, c in MAPPING.items()],
    )
    await alice.set_state(room, "m.space.child", {"via": ["test"]}, "!child:test")
    await alice.set_state(room, "m.room.member", {"membership": "ban", "reason": "x"}, bob.user_id)
    await alice.invite(room, carol.user_id)
    replacement = await upgrade(alice, room, new)

    tombstone = await state_content(alice, room, "m.room.tombstone")
    assert tombstone["replacement_room"] == replacement
    levels = await state_content(alice, room, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (50, 50)
    assert await state_content(alice, room, "m.room.canonical_alias") == {}

    create = await state_content(alice, replacement, "m.room.create")
    assert (create["room_version"], create["type"], create["m.federate"]) == (new, "m.space", False)
    assert create["predecessor"]["room_id"] == room
    assert ("event_id" in create["predecessor"]) == (new != "12")
    for event_type, content in MAPPING.items():
        assert await state_content(alice, replacement, event_type) == content
    child = await state_content(alice, replacement, "m.space.child", "!child:test")
    assert child == {"via": ["test"]}
    assert await membership(alice, replacement, bob.user_id) == "ban"
    assert (await state_types(alice, replacement)).count("m.room.member") == 2
    levels = await state_content(alice, replacement, "m.room.power_levels")
    assert levels["users"].keys() == (set() if new == "12" else {alice.user_id})
    await alice.set_state(replacement, "m.room.tombstone", {"body": "again"})

    alias = (await alice.get("v3/directory/room/%23pub:test")).ok()
    assert alias["room_id"] == replacement
    announced = await state_content(alice, replacement, "m.room.canonical_alias")
    assert announced == {"alias": "#pub:test"}
    page = (await alice.get("v3/publicRooms")).ok()
    assert [listed["room_id"] for listed in page["chunk"]] == [replacement]


async def test_the_predecessor_of_old_versions_names_the_tombstone(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(room_version="10")
    replacement = await upgrade(alice, room, "11")
    create = await state_content(alice, replacement, "m.room.create")
    path = f"v3/rooms/{room}/state/m.room.tombstone"
    tombstone = (await alice.get(path, format="event")).ok()
    assert create["predecessor"] == {"room_id": room, "event_id": tombstone["event_id"]}


async def test_creators_stand_above_the_levels_of_version_12(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(
        preset="public_chat",
        room_version="11",
        power_level_content_override={
            "users": {alice.user_id: 100, bob.user_id: 100, carol.user_id: 50}
        },
    )
    await bob.join(room)
    replacement = await upgrade(bob, room, "12", additional_creators=[carol.user_id])
    levels = await state_content(bob, replacement, "m.room.power_levels")
    create = await state_content(bob, replacement, "m.room.create")
    assert levels["users"] == {alice.user_id: 100}
    assert levels["events"]["m.room.tombstone"] == 150
    assert create["additional_creators"] == [carol.user_id]


@pytest.mark.parametrize("may_change_levels", [True, False])
async def test_an_upgrader_of_middling_rank_has_that_rank_in_the_new_room(
    homes: Homes, *, may_change_levels: bool
) -> None:
    alice, bob = await homes.user(), await homes.user()
    users = {alice.user_id: 100, bob.user_id: 50}
    events = {"m.room.tombstone": 50, "m.room.power_levels": 50 if may_change_levels else 100}
    room = await alice.create_room(
        preset="public_chat",
        room_version="9",
        power_level_content_override={"users": users, "events": events, "state_default": 60},
        initial_state=[{"type": "m.room.server_acl", "content": {"allow": ["*"]}}],
    )
    await bob.join(room)
    before = await state_content(alice, room, "m.room.power_levels")
    replacement = await upgrade(bob, room, "10")
    assert await state_content(bob, replacement, "m.room.power_levels") == before
    assert await state_content(bob, replacement, "m.room.server_acl") == {"allow": ["*"]}
    after = await state_content(alice, room, "m.room.power_levels")
    assert after["events_default"] == (50 if may_change_levels else 0)


async def test_levels_of_old_versions_become_integers_of_the_new_range(homes: Homes) -> None:
    alice = await homes.user()
    override = {"users": {alice.user_id: "100"}, "ban": "60", "kick": 2**60, "notifications": []}
    room = await alice.create_room(room_version="5", power_level_content_override=override)
    replacement = await upgrade(alice, room, "10")
    levels = await state_content(alice, replacement, "m.room.power_levels")
    assert (levels["users"], levels["ban"]) == ({alice.user_id: 100}, 60)
    assert (levels["kick"], levels["notifications"]) == (2**53 - 1, {})


async def test_join_rules_are_such_as_the_new_version_knows(homes: Homes) -> None:
    alice = await homes.user()
    rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock_restricted"}}]
    room = await alice.create_room(room_version="10", initial_state=rules)
    for version, join_rule in (("9", "restricted"), ("7", "invite")):
        room = await upgrade(alice, room, version)
        assert (await state_content(alice, room, "m.room.join_rules"))["join_rule"] == join_rule


async def test_upgrades_take_power_and_a_known_version(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    path = f"v3/rooms/{room}/upgrade"
    (await bob.post(path, {"new_version": "11"})).refused(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.post(path, {"new_version": "11"})).refused(403, "M_FORBIDDEN")
    (await alice.post(path, {"new_version": "x"})).refused(400, "M_UNSUPPORTED_ROOM_VERSION")
    (await alice.post(path)).refused(400, "M_MISSING_PARAM")
    body = {"new_version": "12", "additional_creators": ["bob"]}
    (await alice.post(path, body)).refused(400, "M_INVALID_PARAM")
    none = "v3/rooms/!none:test/upgrade"
    (await alice.post(none, {"new_version": "11"})).refused(404, "M_NOT_FOUND")
    assert "m.room.tombstone" not in await state_types(alice, room)


@pytest.mark.parametrize("by_hand", [True, False])
async def test_settings_for_a_room_hold_in_its_successor(homes: Homes, *, by_hand: bool) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat", room_version="10")
    await bob.join(room)
    for client in (alice, bob):
        rule = f"v3/pushrules/global/room/{room}"
        (await client.put(rule, {"actions": ["dont_notify"]})).ok()
        tag = f"v3/user/{client.user_id}/rooms/{room}/tags/m.favourite"
        (await client.put(tag, {"order": 0.5})).ok()
        direct = f"v3/user/{client.user_id}/account_data/m.direct"
        (await client.put(direct, {alice.user_id: [room], "@x:test": ["!other:test"]})).ok()
    if by_hand:
        content = {"predecessor": {"room_id": room}}
        replacement = await alice.create_room(preset="public_chat", creation_content=content)
    else:
        replacement = await upgrade(alice, room, "11")
    await bob.join(replacement)
    for client in (alice, bob):
        rules = (await client.get("v3/pushrules/")).ok()["global"]["room"]
        assert {rule["rule_id"] for rule in rules} == {room, replacement}
        tags = (await client.get(f"v3/user/{client.user_id}/rooms/{replacement}/tags")).ok()
        assert tags == {"tags": {"m.favourite": {"order": 0.5}}}
        direct = (await client.get(f"v3/user/{client.user_id}/account_data/m.direct")).ok()
        assert direct == {alice.user_id: [room, replacement], "@x:test": ["!other:test"]}
