"""Devices in the database."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from federation.protocol.identifiers import DeviceId
from storage.database import Pool, open_pool
from storage.devices import (
    Sighting,
    devices_of,
    find_device,
    get_or_add_device,
    set_last_seen,
)
from storage.names import Names


@pytest_asyncio.fixture(loop_scope="session")
async def db(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database_url, 4)
    yield pool
    await pool.close()


async def test_a_device_is_added_once_however_many_ask(db: Pool) -> None:
    user_nid = await Names(db, 100_000).users.get_nid("@anna:hs1")
    added = await asyncio.gather(
        *(get_or_add_device(db, user_nid, DeviceId("A"), f"name {n}", n) for n in range(4))
    )
    assert len({device_nid for device_nid, _ in added}) == 1
    assert sorted(is_new for _, is_new in added) == [False, False, False, True]
    [device] = await devices_of(db, user_nid)
    assert device.display_name == f"name {device.created_ts}"


async def test_users_have_their_own_devices(db: Pool) -> None:
    names = Names(db, 100_000)
    anna, bert = await names.users.get_nid("@anna:hs1"), await names.users.get_nid("@bert:hs1")
    await get_or_add_device(db, anna, DeviceId("A"), None, 1)
    assert await find_device(db, anna, "A") is not None
    assert await find_device(db, bert, "A") is None


async def test_sightings_of_unknown_devices_are_ignored(db: Pool) -> None:
    user_nid = await Names(db, 100_000).users.get_nid("@anna:hs1")
    device_nid, _ = await get_or_add_device(db, user_nid, DeviceId("A"), None, 1)
    await set_last_seen(
        db, [Sighting(device_nid + 1, 5, "::1", None), Sighting(device_nid, 6, "::1", "Agent")]
    )
    [device] = await devices_of(db, user_nid)
    assert (device.last_seen_ts, device.last_seen_agent) == (6, "Agent")
