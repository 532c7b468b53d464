"""Dehydrated devices: at most one for each user, whose private keys the client has encrypted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.device_keys import OneTimeKey
from federation.protocol.identifiers import DeviceId
from storage.committer import Write
from storage.database import Database
from storage.device_keys import UPSERT_KEYS
from storage.devices import DELETE_SIGNATURES
from storage.one_time_keys import INSERT_KEYS, UPSERT_FALLBACK, columns_of


class DeviceIdTaken(Exception):
    """A device of the user that is not dehydrated has this ID."""


class DehydratedMoved(Exception):
    """Another request has replaced or removed the former dehydrated device meanwhile."""


@dataclass(frozen=True, slots=True)
class DehydratedDevice:
    """A dehydrated device; `device_data` is JSON."""

    device_nid: int
    device_id: DeviceId
    device_data: bytes


SELECT_ONE = """
    SELECT device_nid, device_id, device_data
      FROM dehydrated_devices
      JOIN devices USING (user_nid, device_nid)
     WHERE user_nid = $1
"""


async def find_dehydrated_device(db: Database, user_nid: int) -> DehydratedDevice | None:
    """The user's dehydrated device, if there is one."""
    row = await db.fetchrow(SELECT_ONE, user_nid)
    return DehydratedDevice(*row) if row else None


DELETE_FORMER = """
    DELETE FROM devices
     WHERE device_nid = (SELECT device_nid FROM dehydrated_devices WHERE user_nid = $1)
 RETURNING device_id
"""

INSERT_DEVICE = """
    INSERT INTO devices (user_nid, device_id, display_name, created_ts)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
 RETURNING device_nid
"""

INSERT_DEHYDRATED = """
    INSERT INTO dehydrated_devices (user_nid, device_nid, device_data) VALUES ($1, $2, $3)
"""


@dataclass(frozen=True, slots=True)
class SetDehydratedDevice(Write):
    """A user has another dehydrated device, with all its keys; the former one is gone.

    `former_id` is the one that the caller knows of, and tells others that it is gone.
    `device_data` and `keys` are JSON. Storing raises `DehydratedMoved`, `DeviceIdTaken`.
    """

    order: ClassVar[int] = 15

    user_nid: int
    former_id: DeviceId | None
    device_id: DeviceId
    display_name: str | None
    created_ts: int
    device_data: bytes
    keys: bytes
    one_time_keys: Sequence[OneTimeKey]
    fallback_keys: Sequence[OneTimeKey]

    @property
    def positions(self) -> int:
        """None: who is told is told by a write of its own."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["SetDehydratedDevice", int]]) -> None:
        """Replace the devices, one after the other: a user does this once in a week."""
        for write, _ in placed:
            await write.replace(db)

    async def replace(self, db: Database) -> None:
        """Delete the former device with what waits for it, and insert the new one."""
        if await db.fetchval(DELETE_FORMER, self.user_nid) != self.former_id:
            raise DehydratedMoved
        if self.former_id is not None:
            await db.execute(DELETE_SIGNATURES, self.user_nid, [self.former_id])
        device_nid = await db.fetchval(
            INSERT_DEVICE, self.user_nid, self.device_id, self.display_name, self.created_ts
        )
        if device_nid is None:
            raise DeviceIdTaken
        await db.execute(INSERT_DEHYDRATED, self.user_nid, device_nid, self.device_data)
        await db.execute(UPSERT_KEYS, [device_nid], [self.keys])
        await db.execute(INSERT_KEYS, device_nid, *columns_of(self.one_time_keys))
        await db.execute(UPSERT_FALLBACK, device_nid, *columns_of(self.fallback_keys))
