from storage.memberships import shares_room
from storage.presence import (
    SetPresence,
    changed_presence,
    presence_after,
    presence_of,
    users_present,
)
from tests.committing import add_account, add_room, open_store, set_membership


async def test_presence_is_seen_by_those_who_share_a_joined_room(database_url: str) -> None:
    async with open_store(database_url) as store:
        room = await add_room(store, "!room")
        alice, bob, eve = [
            await add_account(store, user_id) for user_id in ("@alice:hs1", "@bob:hs1", "@eve:hs1")
        ]
        await set_membership(store, alice, room)
        await set_membership(store, bob, room)
        await set_membership(store, eve, room, 2)
        last = await store.committer.commit(
            SetPresence(alice, "@alice:hs1", "online", "busy", 5, True),
            SetPresence(eve, "@eve:hs1", "unavailable", None, 6, False),
        )
        of_alice, of_eve = store.published
        assert await presence_after(store.db, bob, 0, last) == [of_alice]
        assert await presence_after(store.db, bob, last, last) == []
        assert await presence_after(store.db, eve, 0, last) == [of_eve]
        assert await presence_of(store.db, [alice, bob]) == [of_alice]
        assert await changed_presence(store.db, 0, last) == [of_alice, of_eve]
        assert await shares_room(store.db, alice, bob)
        assert not await shares_room(store.db, alice, eve)


async def test_the_last_presence_of_a_commit_wins(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        stranger = await store.names.users.get_nid("@stranger:hs2")
        await store.committer.commit(
            SetPresence(alice, "@alice:hs1", "offline", None, 5, False),
            SetPresence(alice, "@alice:hs1", "online", None, 7, True),
            SetPresence(stranger, "@stranger:hs2", "online", None, 7, True),
        )
        (present,) = await users_present(store.db)
        assert (present.user_id, present.last_active_ts) == ("@alice:hs1", 7)
        await store.committer.commit(SetPresence(alice, "@alice:hs1", "offline", None, 8, False))
        assert await users_present(store.db) == []
