from collections.abc import Mapping
from typing import Any

import pytest

from federation.protocol.identifiers import RoomId
from federation.protocol.pdu import StateKey
from storage.aliases import (
    AddAlias,
    AliasTaken,
    MoveAliases,
    StoredAlias,
    aliases_of,
    delete_alias,
    find_alias,
)
from storage.changes import Membership
from storage.directory import (
    CREATE,
    GUEST_ACCESS,
    HISTORY_VISIBILITY,
    JOIN_RULES,
    NAME,
    Listing,
    RoomSummary,
    listed_room_nids,
    ranked_rooms,
)
from storage.memberships import is_joined_to_any, local_members, rooms_of, rooms_with_local_members
from storage.rooms import (
    Unpublish,
    is_held_here,
    is_published,
    servers_in_room,
    set_published,
)
from tests.committing import Store, add_room, open_store


async def add_member(
    store: Store, room_nid: int, user_id: str, membership: Membership = Membership.JOIN
) -> int:
    user_nid = await store.names.users.get_nid(user_id)
    await store.db.execute(
        "INSERT INTO memberships (user_nid, room_nid, event_nid, stream_position, sender_nid,"
        " membership, is_local) VALUES ($1, $2, 0, 0, $1, $3, $4)",
        user_nid,
        room_nid,
        membership,
        user_id.endswith(":hs1"),
    )
    return user_nid


async def add_head(store: Store, room_nid: int, snapshot_nid: int | None = 1) -> None:
    """A head; without a snapshot it is that of a room that somebody was only invited to."""
    await store.db.execute(
        "INSERT INTO room_heads (room_nid, revision, max_depth, forward_extremities, snapshot_nid)"
        " VALUES ($1, 0, 0, '{}', $2)",
        room_nid,
        snapshot_nid,
    )


async def test_a_room_is_held_while_somebody_of_ours_or_nobody_is_in_it(database_url: str) -> None:
    async with open_store(database_url) as store:
        ours, theirs, empty, unknown, invited = [
            await add_room(store, f"!{n}:hs1") for n in range(5)
        ]
        await add_head(store, invited, snapshot_nid=None)
        for room_nid in (ours, theirs, empty):
            await add_head(store, room_nid)
        await add_member(store, ours, "@alice:hs1")
        await add_member(store, ours, "@bob:hs2")
        await add_member(store, theirs, "@bob:hs2")
        await add_member(store, theirs, "@alice:hs1", Membership.INVITE)
        await add_member(store, empty, "@bob:hs2", Membership.LEAVE)
        rooms = (ours, theirs, empty, unknown, invited)
        held = [await is_held_here(store.db, nid) for nid in rooms]
        assert held == [True, False, True, False, False]


async def test_servers_are_counted_by_their_joined_users(database_url: str) -> None:
    async with open_store(database_url) as store:
        room = await add_room(store, "!room:hs1")
        for user_id in ("@a:hs1", "@b:hs2:8448", "@c:hs2:8448", "@d:[::1]:80"):
            await add_member(store, room, user_id)
        await add_member(store, room, "@e:hs3", Membership.LEAVE)
        assert await servers_in_room(store.db, room, 10) == ["hs2:8448", "[::1]:80", "hs1"]
        assert await servers_in_room(store.db, room, 1) == ["hs2:8448"]


async def test_memberships_are_found_from_both_ends(database_url: str) -> None:
    async with open_store(database_url) as store:
        first, second = await add_room(store, "!1"), await add_room(store, "!2")
        alice = await add_member(store, first, "@alice:hs1")
        await add_member(store, second, "@alice:hs1", Membership.INVITE)
        await add_member(store, second, "@bob:hs2")
        assert await rooms_of(store.db, alice, Membership.JOIN) == ["!1"]
        assert set(await rooms_of(store.db, alice, *Membership)) == {"!1", "!2"}
        assert await rooms_with_local_members(store.db, ["!1", "!2", "!3"]) == {"!1"}
        assert await is_joined_to_any(store.db, alice, ["!2", "!1"])
        assert not await is_joined_to_any(store.db, alice, ["!2", "!3"])
        assert await local_members(store.db, first, 10) == ["@alice:hs1"]
        assert await local_members(store.db, second, 10) == []


async def test_aliases_are_added_together_or_not_at_all(database_url: str) -> None:
    async with open_store(database_url) as store:
        await store.committer.commit(AddAlias("#a:hs1", "!1", 7), AddAlias("#b:hs1", "!1", 7))
        with pytest.raises(AliasTaken):
            await store.committer.commit(AddAlias("#c:hs1", "!1", 7), AddAlias("#a:hs1", "!2", 7))
        assert await aliases_of(store.db, "!1") == ["#a:hs1", "#b:hs1"]
        assert await find_alias(store.db, "#c:hs1") is None
        await store.committer.commit(MoveAliases("!1", "!2"))
        assert await find_alias(store.db, "#a:hs1") == StoredAlias(RoomId("!2"), 7)
        await delete_alias(store.db, "#a:hs1")
        assert await aliases_of(store.db, "!2") == ["#b:hs1"]


async def test_published_rooms_with_members_are_ranked(database_url: str) -> None:
    async with open_store(database_url) as store:
        rooms = [await add_room(store, f"!{n}") for n in range(4)]
        for room_nid in rooms[:3]:
            await set_published(store.db, room_nid, published=True)
        for room_nid in (rooms[0], rooms[2], rooms[3]):
            await add_member(store, room_nid, "@alice:hs1")
        await add_member(store, rooms[2], "@bob:hs1")
        await add_member(store, rooms[0], "@bob:hs1", Membership.LEAVE)
        published = await listed_room_nids(store.db, Listing())
        assert published == set(rooms[:3])
        assert await ranked_rooms(store.db, published) == [(rooms[2], 2), (rooms[0], 1)]
        await store.committer.commit(Unpublish(rooms[0]))
        assert not await is_published(store.db, rooms[0])


def summary(contents: Mapping[StateKey, Mapping[str, Any]]) -> RoomSummary:
    return RoomSummary(1, "!room:hs1", "12", 3, contents)


def test_a_room_without_state_is_described_by_what_holds_without() -> None:
    assert summary({}).published_fields() == {
        "guest_can_join": False,
        "join_rule": "invite",
        "num_joined_members": 3,
        "room_id": "!room:hs1",
        "world_readable": False,
    }


def test_malformed_state_counts_as_absent() -> None:
    malformed = summary(
        {
            NAME: {"name": ["x"]},
            CREATE: {"type": 1},
            JOIN_RULES: {"join_rule": {}},
            GUEST_ACCESS: {"guest_access": 1},
            HISTORY_VISIBILITY: {},
        }
    )
    assert malformed.published_fields() == summary({}).published_fields()
    assert malformed.encryption is None


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        ({"join_rule": "restricted", "allow": "x"}, []),
        ({"join_rule": "restricted"}, []),
        ({"join_rule": "public", "allow": [{"type": "m.room_membership", "room_id": "!a"}]}, []),
        (
            {
                "join_rule": "knock_restricted",
                "allow": [
                    "x",
                    {"type": "m.room_membership", "room_id": "!a"},
                    {"type": "m.room_membership", "room_id": 1},
                    {"type": "other", "room_id": "!b"},
                    {"type": "m.room_membership", "room_id": "!c"},
                ],
            },
            ["!a", "!c"],
        ),
    ],
)
def test_allowed_rooms_are_those_of_well_formed_conditions(
    content: dict[str, Any], allowed: list[str]
) -> None:
    assert summary({JOIN_RULES: content}).allowed_room_ids == allowed
