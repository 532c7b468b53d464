import asyncio

from storage.filters import add_filter, find_filter
from tests.committing import add_account, open_store


async def test_equal_filters_of_a_user_are_kept_once(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        bob = await add_account(store, "@bob:hs1")
        first = await add_filter(store.db, alice, b'{"a":1}', 10)
        second = await add_filter(store.db, alice, b'{"a":2}', 10)
        assert first is not None
        assert second is not None
        assert first != second
        assert await add_filter(store.db, alice, b'{"a":1}', 10) == first
        assert await find_filter(store.db, alice, second) == b'{"a":2}'
        assert await find_filter(store.db, bob, second) is None


async def test_filters_added_at_once_get_different_ids(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        ids = await asyncio.gather(
            *(add_filter(store.db, alice, b"%d" % (n % 4), 10) for n in range(8))
        )
        assert len(set(ids)) == 4


async def test_there_is_an_end_to_filters(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await add_account(store, "@alice:hs1")
        for n in range(3):
            assert await add_filter(store.db, alice, b"%d" % n, 3) is not None
        assert await add_filter(store.db, alice, b"3", 3) is None
        assert await add_filter(store.db, alice, b"1", 3) is not None
