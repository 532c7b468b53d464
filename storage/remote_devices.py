"""Devices and cross-signing keys of other servers' users, as their servers tell of changes.

A list is complete once it was fetched as a whole and no update has been missed since. Of a list
that is not, no single devices are kept: it is fetched when somebody needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.committer import Write
from storage.database import Database

SELECT_LISTS = """
    SELECT user_nid, stream_id, is_complete
      FROM remote_device_lists
     WHERE user_nid = ANY($1::integer[])
"""

UPSERT_LISTS = """
    INSERT INTO remote_device_lists (user_nid, stream_position, stream_id, is_complete)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::boolean[])
    ON CONFLICT (user_nid) DO UPDATE
       SET stream_position = excluded.stream_position,
           stream_id = excluded.stream_id,
           is_complete = excluded.is_complete
"""

UPSERT_DEVICES = """
    INSERT INTO remote_devices (user_nid, device_id, display_name, keys)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bytea[])
    ON CONFLICT (user_nid, device_id) DO UPDATE
       SET display_name = excluded.display_name, keys = excluded.keys
"""

DELETE_DEVICES = """
    DELETE FROM remote_devices
     USING unnest($1::integer[], $2::text[]) AS gone (user_nid, device_id)
     WHERE remote_devices.user_nid = gone.user_nid
       AND remote_devices.device_id = gone.device_id
"""

DELETE_ALL_DEVICES = "DELETE FROM remote_devices WHERE user_nid = ANY($1::integer[])"


@dataclass(slots=True)
class DeviceList:
    """How much is known of a user's devices: up to which update, and whether of all of them."""

    stream_id: int
    is_complete: bool

    def follow(self, stream_id: int, prev_ids: Sequence[int]) -> None:
        """Take an update that follows others; if one of them was missed, the list has a gap.

        An update that follows none begins anew, so what came before it is in doubt.
        """
        if stream_id > self.stream_id:
            has_gap = max(prev_ids, default=-1) != self.stream_id
            self.is_complete = self.is_complete and not has_gap
            self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class UpdateRemoteDevice(Write):
    """A device of a remote user is new, changed or gone. `keys` is JSON."""

    user_nid: int
    device_id: str
    stream_id: int
    prev_ids: tuple[int, ...]
    is_deleted: bool
    display_name: str | None
    keys: bytes | None

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["UpdateRemoteDevice", int]]) -> None:
        """Move the lists on, in order, and change the devices of those that are complete."""
        rows = await db.fetch(SELECT_LISTS, list({write.user_nid for write, _ in placed}))
        lists = {user_nid: DeviceList(*known) for user_nid, *known in rows}
        positions: dict[int, int] = {}
        devices: dict[tuple[int, str], UpdateRemoteDevice] = {}
        for write, position in placed:
            known = lists.setdefault(write.user_nid, DeviceList(0, is_complete=False))
            is_late = write.stream_id <= known.stream_id
            known.follow(write.stream_id, write.prev_ids)
            positions[write.user_nid] = position
            if not is_late:
                devices[write.user_nid, write.device_id] = write
        await db.execute(
            UPSERT_LISTS,
            list(positions),
            list(positions.values()),
            [lists[nid].stream_id for nid in positions],
            [lists[nid].is_complete for nid in positions],
        )
        complete = [one for one in devices.values() if lists[one.user_nid].is_complete]
        await _change_devices(db, complete)
        gaps = [nid for nid in positions if not lists[nid].is_complete]
        if gaps:
            await db.execute(DELETE_ALL_DEVICES, gaps)


async def _change_devices(db: Database, updates: Sequence[UpdateRemoteDevice]) -> None:
    kept = [(u.user_nid, u.device_id, u.display_name, u.keys) for u in updates if not u.is_deleted]
    gone = [(u.user_nid, u.device_id) for u in updates if u.is_deleted]
    if kept:
        await db.execute(UPSERT_DEVICES, *map(list, zip(*kept, strict=True)))
    if gone:
        await db.execute(DELETE_DEVICES, *map(list, zip(*gone, strict=True)))


UPSERT_KEYS = """
    INSERT INTO remote_cross_signing_keys AS old (
           user_nid, stream_position, master_key, self_signing_key)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[], $4::bytea[])
    ON CONFLICT (user_nid) DO UPDATE
       SET stream_position = excluded.stream_position,
           master_key = coalesce(excluded.master_key, old.master_key),
           self_signing_key = coalesce(excluded.self_signing_key, old.self_signing_key)
"""


@dataclass(frozen=True, slots=True)
class UpdateRemoteSigningKeys(Write):
    """A remote user has other cross-signing keys; JSON, None for one that stays."""

    user_nid: int
    master_key: bytes | None
    self_signing_key: bytes | None

    @classmethod
    async def store(
        cls, db: Database, placed: Sequence[tuple["UpdateRemoteSigningKeys", int]]
    ) -> None:
        """Write the last keys of each user."""
        last: dict[int, tuple[int, bytes | None, bytes | None]] = {}
        for write, position in placed:
            _, master, self_signing = last.get(write.user_nid, (0, None, None))
            last[write.user_nid] = (
                position,
                write.master_key or master,
                write.self_signing_key or self_signing,
            )
        await db.execute(UPSERT_KEYS, list(last), *map(list, zip(*last.values(), strict=True)))


async def find_device_list(db: Database, user_nid: int) -> DeviceList | None:
    """What is known of a remote user's devices; None if nothing was ever heard of them."""
    row = await db.fetchrow(SELECT_LISTS, [user_nid])
    return DeviceList(row[1], row[2]) if row else None
