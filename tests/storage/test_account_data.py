import orjson
import pytest

from federation.protocol.errors import InvalidParam
from storage.account_data import (
    GLOBAL,
    EditAccountData,
    SetAccountData,
    account_data_after,
    account_data_of_rooms,
    account_data_of_users,
    all_account_data,
    changed_account_data,
    find_account_data,
)
from storage.changes import AccountDataSet
from tests.committing import open_store


async def test_data_set_in_one_commit_is_read_back_by_position(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        bob = await store.names.users.get_nid("@bob:hs1")
        last = await store.committer.commit(
            SetAccountData(alice, GLOBAL, "a", b'{"n":1}'),
            SetAccountData(bob, GLOBAL, "a", b'{"n":2}'),
            SetAccountData(alice, 7, "a", b'{"n":3}'),
        )
        of_alice = [
            AccountDataSet(last - 2, alice, GLOBAL, "a", b'{"n":1}'),
            AccountDataSet(last, alice, 7, "a", b'{"n":3}'),
        ]
        assert await all_account_data(store.db, alice) == of_alice
        assert await account_data_after(store.db, alice, last - 2, last) == of_alice[1:]
        assert await account_data_after(store.db, alice, 0, last - 1) == of_alice[:1]
        assert await account_data_of_rooms(store.db, alice, [7, 8]) == of_alice[1:]
        assert await changed_account_data(store.db, 0, last) == store.published
        assert await account_data_of_users(store.db, [alice, bob], "a") == {
            alice: b'{"n":1}',
            bob: b'{"n":2}',
        }


async def test_the_last_of_two_writes_to_one_key_in_a_commit_wins(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        last = await store.committer.commit(
            SetAccountData(alice, GLOBAL, "a", b"1"), SetAccountData(alice, GLOBAL, "a", b"2")
        )
        assert await all_account_data(store.db, alice) == [
            AccountDataSet(last, alice, GLOBAL, "a", b"2")
        ]


def add(name: str) -> EditAccountData:
    def edit(former: bytes | None) -> bytes:
        return orjson.dumps([*(orjson.loads(former) if former else []), name])

    return EditAccountData(1, 5, "list", edit)


async def test_edits_of_one_commit_build_on_each_other(database_url: str) -> None:
    async with open_store(database_url) as store:
        await store.names.users.get_nid("@alice:hs1")
        await store.committer.commit(add("a"))
        await store.committer.commit(add("b"), add("c"))
        assert await find_account_data(store.db, 1, 5, "list") == b'["a","b","c"]'
        assert [c.content for c in store.published if isinstance(c, AccountDataSet)] == [
            b'["a"]',
            b'["a","b"]',
            b'["a","b","c"]',
        ]


async def test_a_refused_edit_keeps_its_error_and_spoils_no_other_write(database_url: str) -> None:
    def refuse(former: bytes | None) -> bytes | None:
        raise InvalidParam("no")

    async with open_store(database_url) as store:
        await store.names.users.get_nid("@alice:hs1")
        refused = EditAccountData(1, 5, "list", refuse)
        await store.committer.commit(add("a"), refused, add("b"))
        assert isinstance(refused.error, InvalidParam)
        assert await find_account_data(store.db, 1, 5, "list") == b'["a","b"]'
        assert len(store.published) == 2


async def test_an_edit_that_changes_nothing_tells_nobody(database_url: str) -> None:
    async with open_store(database_url) as store:
        await store.names.users.get_nid("@alice:hs1")
        await store.committer.commit(EditAccountData(1, 5, "list", lambda former: None))
        assert await find_account_data(store.db, 1, 5, "list") is None
        assert store.published == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_setting_and_editing_one_key_in_one_commit_leaves_the_newest_position(
    database_url: str, order: tuple[int, int]
) -> None:
    async with open_store(database_url) as store:
        await store.names.users.get_nid("@alice:hs1")
        writes = (add("b"), SetAccountData(1, 5, "list", b'["a"]'))
        last = await store.committer.commit(*(writes[i] for i in order))
        (row,) = await all_account_data(store.db, 1)
        assert (row.position, row.content) == (last, b'["a","b"]')
