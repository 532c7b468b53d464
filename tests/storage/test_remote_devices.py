"""Devices of other servers' users in the database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from federation.protocol.identifiers import UserId
from storage.database import Pool, open_pool
from storage.names import Names
from storage.remote_devices import (
    MAX_DEVICES,
    FetchMark,
    KeepFetchedList,
    RemoteDevice,
    begin_fetch,
    remote_devices,
)

ANNA = UserId("@anna:hs2")


@pytest_asyncio.fixture(loop_scope="session")
async def db(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, 4)
    yield pool
    await pool.close()


async def keep(db: Pool, user_nid: int, mark: FetchMark, count: int) -> int:
    """How many devices are kept of a list of so many."""
    devices = [RemoteDevice(f"D{n:05}", None, None) for n in range(count)]
    write = KeepFetchedList(user_nid, ANNA, mark, 1, devices, None, None)
    async with db.transaction() as transaction:
        await KeepFetchedList.store(transaction, [(write, 1)])
    return len(list(await remote_devices(db, [user_nid])))


async def test_an_endless_list_of_devices_is_cut_off(db: Pool) -> None:
    user_nid = await Names(db, 100_000).users.get_nid(ANNA)
    assert await keep(db, user_nid, await begin_fetch(db, user_nid), 3) == 3
    assert await keep(db, user_nid, await begin_fetch(db, user_nid), MAX_DEVICES + 5) == MAX_DEVICES
