from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest

from storage.profiles import set_profile_field
from storage.user_directory import search_users
from tests.committing import Store, add_account, add_room, open_store, set_membership


@dataclass
class Town:
    """Alice, Bob, Carol and Eve of this server; some of them meet in rooms."""

    store: Store
    nids: dict[str, int] = field(default_factory=dict)

    async def find(self, searcher: str, term: str, *, all_local: bool = False) -> list[str]:
        found = await search_users(
            self.store.db, self.nids[searcher], term, 10, all_local=all_local
        )
        return [user.user_id for user in found]

    async def name(self, who: str, displayname: str) -> None:
        value = orjson.dumps(displayname)
        assert await set_profile_field(self.store.db, self.nids[who], "displayname", value, 9999)

    async def meet(self, room_id: str, *who: str) -> int:
        room = await add_room(self.store, room_id)
        for name in who:
            await set_membership(self.store, self.nids[name], room)
        return room

    async def add_state(
        self, event_nid: int, room: int, event_type: str, state_key: str, content: object
    ) -> None:
        place = await self.store.names.places.get_nid((event_type, state_key))
        await self.store.db.execute(
            "INSERT INTO events (event_nid, depth, origin_server_ts, room_nid, sender_nid,"
            " type_nid, place_nid, prev_nids, auth_nids, event_id, json)"
            " VALUES ($1, 1, 0, $2, 1, 1, $3, '{}', '{}', $1::bigint::text, $4)",
            event_nid,
            room,
            place,
            orjson.dumps({"content": content, "type": event_type}),
        )
        await self.store.db.execute(
            "INSERT INTO current_state (room_nid, place_nid, event_nid, is_member)"
            " VALUES ($1, $2, $3, false)",
            room,
            place,
            event_nid,
        )


@asynccontextmanager
async def open_town(database_url: str) -> AsyncIterator[Town]:
    async with open_store(database_url) as store:
        town = Town(store)
        for name in ("alice", "bob", "carol", "eve"):
            town.nids[name] = await add_account(store, f"@{name}:hs1")
        yield town


async def test_strangers_find_nobody_who_is_not_in_public(database_url: str) -> None:
    async with open_town(database_url) as town:
        assert await town.find("eve", "alice") == []
        assert await town.find("eve", "alice", all_local=True) == ["@alice:hs1"]
        assert await town.find("alice", "alice", all_local=True) == []
        await town.meet("!private", "alice", "bob")
        assert await town.find("bob", "alice") == ["@alice:hs1"]
        assert await town.find("eve", "alice") == []


@pytest.mark.parametrize(
    ("event_type", "content", "is_public"),
    [
        ("m.room.join_rules", {"join_rule": "public"}, True),
        ("m.room.join_rules", {"join_rule": "invite"}, False),
        ("m.room.history_visibility", {"history_visibility": "world_readable"}, True),
        ("m.room.history_visibility", {"history_visibility": "shared"}, False),
        ("m.room.topic", {"join_rule": "public"}, False),
    ],
)
async def test_users_in_public_rooms_are_found_by_everybody(
    database_url: str, event_type: str, content: dict[str, str], is_public: bool
) -> None:
    async with open_town(database_url) as town:
        room = await town.meet("!room", "alice")
        await town.add_state(1, room, event_type, "", content)
        assert await town.find("eve", "alice") == (["@alice:hs1"] if is_public else [])


async def test_users_in_published_rooms_are_found_by_everybody(database_url: str) -> None:
    async with open_town(database_url) as town:
        room = await town.meet("!room", "alice")
        await town.store.db.execute("UPDATE rooms SET published = true WHERE room_nid = $1", room)
        assert await town.find("eve", "alice") == ["@alice:hs1"]
        await set_membership(town.store, town.nids["alice"], room, 4)
        assert await town.find("eve", "alice") == []


@pytest.mark.parametrize(
    ("term", "is_found"),
    [
        ("alice", True),
        ("LICE", True),
        ("@al", True),
        ("@lice", False),
        ("@alice:hs1", True),
        ("@alice:hs2", False),
        ("hs1", False),
        ("kupferr", True),
        ("KUPFERRÖHRE", True),
        ("von röhre", True),
        ("röhre alice", True),
        ("röhre bob", False),
        ("%", False),
        ("_", False),
        ('"', False),
    ],
)
async def test_every_word_is_looked_for_in_id_and_name(
    database_url: str, term: str, is_found: bool
) -> None:
    async with open_town(database_url) as town:
        await town.meet("!room", "alice", "eve")
        await town.name("alice", "Frau von Kupferröhre")
        assert await town.find("eve", term) == (["@alice:hs1"] if is_found else [])


async def test_exact_matches_come_first_and_then_those_with_a_name(database_url: str) -> None:
    async with open_town(database_url) as town:
        town.nids["a"] = await add_account(town.store, "@a-carol:hs1")
        await town.name("bob", "Carolus")
        assert await town.find("eve", "Carol", all_local=True) == [
            "@carol:hs1",
            "@bob:hs1",
            "@a-carol:hs1",
        ]


async def test_former_and_locked_users_are_not_found(database_url: str) -> None:
    async with open_town(database_url) as town:
        await town.meet("!room", "alice", "bob", "eve")
        await town.store.db.execute(
            "UPDATE accounts SET is_deactivated = (user_nid = $1), is_locked = (user_nid = $2)",
            town.nids["alice"],
            town.nids["bob"],
        )
        assert await town.find("eve", "alice") == []
        assert await town.find("eve", "bob") == []


async def test_a_remote_users_name_is_told_to_those_who_share_a_room(database_url: str) -> None:
    async with open_town(database_url) as town:
        town.nids["zoe"] = await town.store.names.users.get_nid("@zoe:elsewhere")
        room = await town.meet("!room", "zoe", "alice")
        await town.add_state(7, room, "m.room.member", "@zoe:elsewhere", {"displayname": "Zoë"})
        await town.store.db.execute(
            "UPDATE memberships SET event_nid = 7 WHERE user_nid = $1", town.nids["zoe"]
        )
        (found,) = await search_users(town.store.db, town.nids["alice"], "zoe", 10, all_local=False)
        assert (found.user_id, found.display_name) == ("@zoe:elsewhere", "Zoë")
        assert await town.find("eve", "zoe", all_local=True) == []
