from typing import Any

from storage.account_data import GLOBAL, SetAccountData
from storage.account_data_cache import AccountDataCache
from tests.committing import Store, open_store


class CountingDatabase:
    """Counts the queries, and runs something after each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.queries = 0
        self.afterwards: Any = None

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self.queries += 1
        rows = await self._store.db.fetch(query, *args)
        if self.afterwards is not None:
            await self.afterwards()
        return rows

    async def fetchrow(self, query: str, *args: Any) -> Any:
        raise NotImplementedError

    async def fetchval(self, query: str, *args: Any) -> Any:
        raise NotImplementedError

    async def execute(self, query: str, *args: Any) -> str:
        raise NotImplementedError


def length(content: bytes | None) -> int:
    return -1 if content is None else len(content)


async def test_values_are_built_once_until_they_change(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        bob = await store.names.users.get_nid("@bob:hs1")
        db = CountingDatabase(store)
        cache = AccountDataCache(db, "wanted", length, 10_000)
        store.hear(cache.heard)
        await store.committer.commit(SetAccountData(alice, GLOBAL, "wanted", b"12"))
        assert await cache.get_many([alice, bob]) == {alice: 2, bob: -1}
        assert await cache.get_many([bob, alice]) == {alice: 2, bob: -1}
        assert db.queries == 1
        await store.committer.commit(
            SetAccountData(alice, 7, "wanted", b"[1]"), SetAccountData(bob, GLOBAL, "other", b"1")
        )
        assert await cache.get(bob) == -1
        assert db.queries == 1
        await store.committer.commit(SetAccountData(bob, GLOBAL, "wanted", b"[1]"))
        assert await cache.get_many([alice, bob]) == {alice: 2, bob: 3}
        assert db.queries == 2


async def test_what_changes_while_it_is_read_is_read_again(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        db = CountingDatabase(store)
        cache = AccountDataCache(db, "wanted", length, 10_000)
        store.hear(cache.heard)

        async def change() -> None:
            db.afterwards = None
            await store.committer.commit(SetAccountData(alice, GLOBAL, "wanted", b"12"))

        db.afterwards = change
        assert await cache.get(alice) == -1
        assert await cache.get(alice) == 2
