from storage.pushers import Pusher, delete_pusher, delete_pushers, pushers_of, set_pusher
from tests.committing import Store, add_account, open_store


async def add_device(store: Store, user_nid: int) -> int:
    device_nid: int = await store.db.fetchval(
        "INSERT INTO devices (user_nid, device_id, created_ts) VALUES ($1, 'D', 0)"
        " RETURNING device_nid",
        user_nid,
    )
    return device_nid


async def test_a_pusher_is_one_for_each_app_and_key(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        first = Pusher(alice, None, "app", "key", b"{}", 1)
        second = Pusher(alice, None, "app", "other", b"{}", 2)
        await set_pusher(store.db, first, keep_others=False)
        await set_pusher(store.db, second, keep_others=False)
        await set_pusher(
            store.db, Pusher(alice, None, "app", "key", b'{"a":1}', 3), keep_others=False
        )
        changed = Pusher(alice, None, "app", "key", b'{"a":1}', 1)
        assert await pushers_of(store.db, alice) == [changed, second]
        await delete_pusher(store.db, alice, "app", "key")
        await delete_pusher(store.db, alice, "app", "key")
        assert await pushers_of(store.db, alice) == [second]
        await delete_pushers(store.db, alice)
        assert await pushers_of(store.db, alice) == []


async def test_others_lose_a_pusher_unless_it_is_appended(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        bob = await add_account(store, "@bob:hs1")
        of_alice = Pusher(alice, None, "app", "key", b"{}", 1)
        of_bob = Pusher(bob, None, "app", "key", b"{}", 1)
        await set_pusher(store.db, of_alice, keep_others=False)
        await set_pusher(store.db, of_bob, keep_others=True)
        assert await pushers_of(store.db, alice) == [of_alice]
        await set_pusher(store.db, of_bob, keep_others=False)
        assert await pushers_of(store.db, alice) == []


async def test_pushers_go_with_their_device(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        device = await add_device(store, alice)
        await set_pusher(store.db, Pusher(alice, device, "app", "1", b"{}", 1), keep_others=False)
        await set_pusher(store.db, Pusher(alice, None, "app", "2", b"{}", 1), keep_others=False)
        await store.db.execute("DELETE FROM devices")
        assert [pusher.pushkey for pusher in await pushers_of(store.db, alice)] == ["2"]
