"""Devices and cross-signing keys of other servers' users, as their servers tell of changes.

A list is complete once it was fetched as a whole and no update has been missed since. It is good
only if a room has been shared with the user ever since, for otherwise updates may have been missed
without a sign. Of a list that is not complete no single devices are kept: it is fetched when
somebody needs it. Nothing is kept of users of whom nobody here has asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.device_lists import Update, judge_update
from federation.protocol.identifiers import UserId
from storage.changes import Change, DeviceListChanged
from storage.committer import Write
from storage.database import Database
from storage.device_lists import UPSERT_LISTS

IS_GOOD = """
    l.is_complete AND EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS ours ON ours.room_nid = theirs.room_nid
            WHERE theirs.user_nid = l.user_nid AND theirs.membership = 1
              AND theirs.stream_position <= l.stream_position
              AND ours.is_local AND ours.membership = 1
              AND ours.stream_position <= l.stream_position)
"""
"""Whether a list `l` is complete, and a room was shared with its user ever since."""

SELECT_LISTS = f"""
    SELECT l.user_nid, l.stream_id, {IS_GOOD}
      FROM remote_device_lists AS l
     WHERE l.user_nid = ANY($1::integer[])
"""  # noqa: S608 - constants of ours

MOVE_LISTS = """
    UPDATE remote_device_lists AS l
       SET stream_position = new.stream_position,
           stream_id = new.stream_id,
           is_complete = new.is_complete
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::boolean[])
        AS new (user_nid, stream_position, stream_id, is_complete)
     WHERE l.user_nid = new.user_nid
"""

UPSERT_DEVICES = """
    INSERT INTO remote_devices (user_nid, device_id, display_name, keys)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bytea[])
    ON CONFLICT (user_nid, device_id) DO UPDATE
       SET display_name = excluded.display_name, keys = excluded.keys
"""

MAX_DEVICES = 1_000
"""Devices that are kept of one user: whoever writes to the user encrypts for each of them."""

# Of too many those that sort last are left out, so that those that stay are always the same.
TRIM_DEVICES = """
    DELETE FROM remote_devices
     WHERE (user_nid, device_id) IN (
           SELECT user_nid, device_id
             FROM (SELECT user_nid,
                          device_id,
                          row_number() OVER (PARTITION BY user_nid ORDER BY device_id) AS place
                     FROM remote_devices
                    WHERE user_nid = ANY($1::integer[])) AS counted
            WHERE place > $2)
"""

DELETE_DEVICES = """
    DELETE FROM remote_devices
     USING unnest($1::integer[], $2::text[]) AS gone (user_nid, device_id)
     WHERE remote_devices.user_nid = gone.user_nid
       AND remote_devices.device_id = gone.device_id
"""

DELETE_ALL_DEVICES = "DELETE FROM remote_devices WHERE user_nid = ANY($1::integer[])"


@dataclass(frozen=True, slots=True)
class RemoteDevice:
    """A device; `keys` is JSON, None for a device without keys."""

    device_id: str
    display_name: str | None
    keys: bytes | None


@dataclass(slots=True)
class DeviceList:
    """How much is known of a user's devices: up to which update, and whether of all of them."""

    stream_id: int
    is_complete: bool

    def follow(self, stream_id: int, prev_ids: Sequence[int]) -> bool:
        """Take note of an update; whether it is to be applied."""
        judged = judge_update(self.stream_id, stream_id, prev_ids)
        if judged is Update.GAP:
            self.is_complete = False
        if judged is not Update.KNOWN:
            self.stream_id = max(self.stream_id, stream_id)
        return self.is_complete and judged is Update.NEXT


@dataclass(frozen=True, slots=True)
class UpdateRemoteDevice(Write):
    """A device of a remote user is new, changed or gone; told to the rooms shared with them."""

    user_nid: int
    user_id: UserId
    room_nids: tuple[int, ...]
    stream_id: int
    prev_ids: tuple[int, ...]
    is_deleted: bool
    device: RemoteDevice

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["UpdateRemoteDevice", int]]) -> None:
        """Move the lists on, in order, and change the devices of those that are complete."""
        rows = await db.fetch(SELECT_LISTS, list({write.user_nid for write, _ in placed}))
        lists = {user_nid: DeviceList(*known) for user_nid, *known in rows}
        positions: dict[int, int] = {}
        devices: dict[tuple[int, str], UpdateRemoteDevice] = {}
        for write, position in placed:
            positions[write.user_nid] = position
            known = lists.get(write.user_nid)
            if known is not None and known.follow(write.stream_id, write.prev_ids):
                devices[write.user_nid, write.device.device_id] = write
        await note_changes(db, positions)
        if not lists:
            return
        await db.execute(
            MOVE_LISTS,
            list(lists),
            [positions[nid] for nid in lists],
            [known.stream_id for known in lists.values()],
            [known.is_complete for known in lists.values()],
        )
        complete = [one for one in devices.values() if lists[one.user_nid].is_complete]
        await _change_devices(db, complete)
        gaps = [nid for nid, known in lists.items() if not known.is_complete]
        if gaps:
            await db.execute(DELETE_ALL_DEVICES, gaps)

    def changes(self, position: int) -> Sequence[Change]:
        """Those who share a room with the user hear of it."""
        return (DeviceListChanged(position, self.user_nid, self.user_id, self.room_nids),)


async def note_changes(db: Database, positions: dict[int, int]) -> None:
    """Note when something about users' devices changed last."""
    nobody = [None] * len(positions)
    await db.execute(UPSERT_LISTS, list(positions), list(positions.values()), nobody)


async def _change_devices(db: Database, updates: Sequence[UpdateRemoteDevice]) -> None:
    kept = [(one.user_nid, one.device) for one in updates if not one.is_deleted]
    gone = [(one.user_nid, one.device.device_id) for one in updates if one.is_deleted]
    if kept:
        await _add_devices(db, kept)
    if gone:
        await db.execute(DELETE_DEVICES, *map(list, zip(*gone, strict=True)))


async def _add_devices(db: Database, devices: Sequence[tuple[int, RemoteDevice]]) -> None:
    await db.execute(
        UPSERT_DEVICES,
        [user_nid for user_nid, _ in devices],
        [device.device_id for _, device in devices],
        [device.display_name for _, device in devices],
        [device.keys for _, device in devices],
    )
    await db.execute(TRIM_DEVICES, list({user_nid for user_nid, _ in devices}), MAX_DEVICES)


# Of a user whose list is not complete all keys are fetched together with it.
UPDATE_KEYS = """
    INSERT INTO remote_cross_signing_keys AS old (user_nid, master_key, self_signing_key)
    SELECT new.user_nid, new.master_key, new.self_signing_key
      FROM unnest($1::integer[], $2::bytea[], $3::bytea[])
        AS new (user_nid, master_key, self_signing_key)
      JOIN remote_device_lists AS l ON l.user_nid = new.user_nid AND l.is_complete
    ON CONFLICT (user_nid) DO UPDATE
       SET master_key = coalesce(excluded.master_key, old.master_key),
           self_signing_key = coalesce(excluded.self_signing_key, old.self_signing_key)
"""

TOUCH_LISTS = """
    UPDATE remote_device_lists AS l
       SET stream_position = new.stream_position
      FROM unnest($1::integer[], $2::bigint[]) AS new (user_nid, stream_position)
     WHERE l.user_nid = new.user_nid AND NOT l.is_complete
"""


@dataclass(frozen=True, slots=True)
class UpdateRemoteSigningKeys(Write):
    """A remote user has other cross-signing keys; JSON, None for one that stays."""

    user_nid: int
    user_id: UserId
    room_nids: tuple[int, ...]
    master_key: bytes | None
    self_signing_key: bytes | None

    @classmethod
    async def store(
        cls, db: Database, placed: Sequence[tuple["UpdateRemoteSigningKeys", int]]
    ) -> None:
        """Write the last keys of each user."""
        positions: dict[int, int] = {}
        last: dict[int, tuple[bytes | None, bytes | None]] = {}
        for write, position in placed:
            positions[write.user_nid] = position
            master, self_signing = last.get(write.user_nid, (None, None))
            last[write.user_nid] = (
                write.master_key or master,
                write.self_signing_key or self_signing,
            )
        await note_changes(db, positions)
        await db.execute(UPDATE_KEYS, list(last), *map(list, zip(*last.values(), strict=True)))
        # What is being fetched just now may be older than this.
        await db.execute(TOUCH_LISTS, list(positions), list(positions.values()))

    def changes(self, position: int) -> Sequence[Change]:
        """Those who share a room with the user hear of it."""
        return (DeviceListChanged(position, self.user_nid, self.user_id, self.room_nids),)


BEGIN_FETCH = """
    INSERT INTO remote_device_lists (user_nid, stream_position, stream_id, is_complete)
    VALUES ($1, 0, 0, false)
    ON CONFLICT (user_nid) DO UPDATE SET is_complete = false
 RETURNING stream_position, (SELECT position FROM stream)
"""


@dataclass(frozen=True, slots=True)
class FetchMark:
    """When the fetching of a list began, and when something was last heard of the list before."""

    last_heard: int
    began: int


async def begin_fetch(db: Database, user_nid: int) -> FetchMark:
    """Keep a list of the user's devices from now on, and note what is known of it so far."""
    return FetchMark(*await db.fetchrow(BEGIN_FETCH, user_nid))


FINISH_FETCH = """
    UPDATE remote_device_lists
       SET stream_position = $3, stream_id = $4, is_complete = true
     WHERE user_nid = $1 AND stream_position = $2
 RETURNING true
"""

REPLACE_KEYS = """
    INSERT INTO remote_cross_signing_keys (user_nid, master_key, self_signing_key)
    VALUES ($1, $2, $3)
    ON CONFLICT (user_nid) DO UPDATE
       SET master_key = excluded.master_key, self_signing_key = excluded.self_signing_key
"""


@dataclass(frozen=True, slots=True)
class KeepFetchedList(Write):
    """A remote user's devices as they were fetched.

    The list is not taken if something was heard of it meanwhile, which may not be in it yet.
    With `room_nids` the change is told to these rooms.
    """

    order: ClassVar[int] = 60

    user_nid: int
    user_id: UserId
    mark: FetchMark
    stream_id: int
    devices: Sequence[RemoteDevice]
    master_key: bytes | None
    self_signing_key: bytes | None
    room_nids: tuple[int, ...] = ()

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["KeepFetchedList", int]]) -> None:
        """Replace what was known."""
        told = {write.user_nid: at for write, at in placed if write.room_nids}
        if told:
            await note_changes(db, told)
        for write, _ in placed:
            mark = write.mark
            if await db.fetchval(
                FINISH_FETCH, write.user_nid, mark.last_heard, mark.began, write.stream_id
            ):
                await db.execute(DELETE_ALL_DEVICES, [write.user_nid])
                await _add_devices(db, [(write.user_nid, device) for device in write.devices])
                await db.execute(
                    REPLACE_KEYS, write.user_nid, write.master_key, write.self_signing_key
                )

    def changes(self, position: int) -> Sequence[Change]:
        """Those who share a room with the user hear of it, if they are to."""
        if not self.room_nids:
            return ()
        return (DeviceListChanged(position, self.user_nid, self.user_id, self.room_nids),)


SELECT_GOOD = f"""
    SELECT l.user_nid
      FROM remote_device_lists AS l
     WHERE l.user_nid = ANY($1::integer[]) AND {IS_GOOD}
"""  # noqa: S608


async def good_lists(db: Database, user_nids: Iterable[int]) -> set[int]:
    """Those of the users whose lists are complete and have been followed ever since."""
    return {user_nid for (user_nid,) in await db.fetch(SELECT_GOOD, list(user_nids))}


SELECT_DEVICES = """
    SELECT user_nid, device_id, display_name, keys
      FROM remote_devices
     WHERE user_nid = ANY($1::integer[])
     ORDER BY user_nid, device_id
"""

SELECT_KEYS = """
    SELECT user_nid, master_key, self_signing_key
      FROM remote_cross_signing_keys
     WHERE user_nid = ANY($1::integer[])
"""


async def remote_devices(db: Database, user_nids: Iterable[int]) -> list[tuple[int, RemoteDevice]]:
    """The devices that are kept of users, each with its user."""
    rows = await db.fetch(SELECT_DEVICES, list(user_nids))
    return [(user_nid, RemoteDevice(*row)) for user_nid, *row in rows]


async def remote_cross_signing_keys(
    db: Database, user_nids: Iterable[int]
) -> dict[int, tuple[bytes | None, bytes | None]]:
    """The master keys and self-signing keys that are kept of users."""
    rows = await db.fetch(SELECT_KEYS, list(user_nids))
    return {user_nid: (master, self_signing) for user_nid, master, self_signing in rows}


SELECT_IS_FOLLOWED = """
    SELECT EXISTS (SELECT FROM remote_device_lists WHERE user_nid = $1)
"""


async def is_followed(db: Database, user_nid: int) -> bool:
    """Whether a list is kept of the user."""
    return bool(await db.fetchval(SELECT_IS_FOLLOWED, user_nid))


SELECT_IS_OUTDATED = """
    SELECT EXISTS (SELECT FROM remote_device_lists WHERE user_nid = $1 AND NOT is_complete)
"""


async def is_outdated(db: Database, user_nid: int) -> bool:
    """Whether a list is kept of the user, and something is missing in it."""
    return bool(await db.fetchval(SELECT_IS_OUTDATED, user_nid))


SELECT_OUTDATED = """
    SELECT u.user_id
      FROM remote_device_lists AS l
      JOIN users AS u USING (user_nid)
     WHERE NOT l.is_complete
"""


async def outdated_users(db: Database) -> list[UserId]:
    """The users of whom lists are kept in which something is missing."""
    return [UserId(user_id) for (user_id,) in await db.fetch(SELECT_OUTDATED)]


SELECT_SHARED_ROOMS = """
    SELECT theirs.room_nid
      FROM memberships AS theirs
     WHERE theirs.user_nid = $1 AND theirs.membership = 1
       AND EXISTS (
           SELECT FROM memberships AS ours
            WHERE ours.room_nid = theirs.room_nid AND ours.membership = 1 AND ours.is_local)
"""


async def rooms_shared_with(db: Database, user_nid: int) -> tuple[int, ...]:
    """The rooms in which the user is together with users of ours."""
    return tuple(room_nid for (room_nid,) in await db.fetch(SELECT_SHARED_ROOMS, user_nid))


DELETE_LISTS = """
      WITH gone AS (
           DELETE FROM remote_device_lists
            WHERE user_nid = ANY($1::integer[])),
           keys AS (
           DELETE FROM remote_cross_signing_keys
            WHERE user_nid = ANY($1::integer[]))
    DELETE FROM remote_devices
     WHERE user_nid = ANY($1::integer[])
"""

SELECT_UNSHARED = """
    SELECT l.user_nid
      FROM remote_device_lists AS l
     WHERE NOT EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS ours ON ours.room_nid = theirs.room_nid
            WHERE theirs.user_nid = l.user_nid AND theirs.membership = 1
              AND ours.is_local AND ours.membership = 1)
     LIMIT $1
"""


async def delete_list(db: Database, user_nid: int) -> None:
    """Keep nothing of a user's devices any more."""
    await db.execute(DELETE_LISTS, [user_nid])


async def delete_unshared_lists(db: Database, limit: int) -> int:
    """Forget at most `limit` users with whom no room is shared any more; how many it were."""
    user_nids = [user_nid for (user_nid,) in await db.fetch(SELECT_UNSHARED, limit)]
    if user_nids:
        await db.execute(DELETE_LISTS, user_nids)
    return len(user_nids)
