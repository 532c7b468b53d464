"""Identity keys of our users' devices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.identifiers import DeviceId, UserId
from storage.committer import Write
from storage.database import Database

UPSERT_KEYS = """
    INSERT INTO device_keys (device_nid, keys)
    SELECT new.device_nid, new.keys
      FROM unnest($1::integer[], $2::bytea[]) AS new (device_nid, keys)
      JOIN devices USING (device_nid)
    ON CONFLICT (device_nid) DO UPDATE SET keys = excluded.keys
"""

# What others have signed are the former keys.
DELETE_SIGNATURES = """
    DELETE FROM key_signatures AS s
     USING devices AS d
     WHERE d.device_nid = ANY($1::integer[])
       AND s.user_nid = d.user_nid
       AND s.key_id = d.device_id
"""


@dataclass(frozen=True, slots=True)
class SetDeviceKeys(Write):
    """A device has other identity keys than before; JSON."""

    order: ClassVar[int] = 20

    device_nid: int
    keys: bytes

    @property
    def positions(self) -> int:
        """None: who is told is told by a write of its own."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["SetDeviceKeys", int]]) -> None:
        """Write the last keys of each device."""
        last = {write.device_nid: write.keys for write, _ in placed}
        await db.execute(UPSERT_KEYS, list(last), list(last.values()))
        await db.execute(DELETE_SIGNATURES, list(last))


SELECT_ONE = "SELECT keys FROM device_keys WHERE device_nid = $1"


async def find_device_keys(db: Database, device_nid: int) -> bytes | None:
    """A device's identity keys, or None if it has none."""
    keys: bytes | None = await db.fetchval(SELECT_ONE, device_nid)
    return keys


@dataclass(frozen=True, slots=True)
class KeyedDevice:
    """A device with its name and its identity keys, if it has any; JSON."""

    user_id: UserId
    user_nid: int
    device_nid: int
    device_id: DeviceId
    display_name: str | None
    keys: bytes | None


SELECT_OF_USERS = """
    SELECT u.user_id, d.user_nid, d.device_nid, d.device_id, d.display_name, k.keys
      FROM devices AS d
      JOIN users AS u USING (user_nid)
      LEFT JOIN device_keys AS k USING (device_nid)
     WHERE d.user_nid = ANY($1::integer[])
     ORDER BY d.device_nid
"""


async def keyed_devices(db: Database, user_nids: Iterable[int]) -> list[KeyedDevice]:
    """All devices of users of ours, oldest first."""
    return [KeyedDevice(*row) for row in await db.fetch(SELECT_OF_USERS, list(user_nids))]
