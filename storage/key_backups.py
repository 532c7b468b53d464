"""Backups of room keys, which only their users can read."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database, Pool


@dataclass(frozen=True, slots=True)
class KeyBackup:
    """A backup; `auth_data` is JSON. `etag` is another one whenever the keys have changed."""

    version: int
    algorithm: str
    auth_data: bytes
    key_count: int
    etag: int


@dataclass(frozen=True, slots=True)
class BackedUpKey:
    """A key of a session in a room; `session_data` is JSON."""

    room_id: str
    session_id: str
    first_message_index: int
    forwarded_count: int
    is_verified: bool
    session_data: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """Which keys of a backup are meant: all, those of a room, or that of a session."""

    room_id: str | None = None
    session_id: str | None = None

    @property
    def ids(self) -> list[str]:
        """The IDs that are set."""
        return [one for one in (self.room_id, self.session_id) if one is not None]


class BackupReplaced(Exception):
    """Keys can be added to the latest backup only; `current` is that, None if there is none."""

    def __init__(self, current: int | None) -> None:
        super().__init__(f"the latest backup is {current}")
        self.current = current


INSERT_BACKUP = """
    INSERT INTO key_backups (user_nid, version, algorithm, auth_data)
    SELECT $1, coalesce(max(version), 0) + 1, $2, $3
      FROM key_backups
     WHERE user_nid = $1
    ON CONFLICT DO NOTHING
 RETURNING version
"""


async def add_key_backup(db: Database, user_nid: int, algorithm: str, auth_data: bytes) -> int:
    """Begin a new backup; its version."""
    while True:
        version = await db.fetchval(INSERT_BACKUP, user_nid, algorithm, auth_data)
        if version is not None:
            return int(version)


COLUMNS = "version, algorithm, auth_data, key_count, etag"

SELECT_LATEST = f"""
    SELECT {COLUMNS}
      FROM key_backups
     WHERE user_nid = $1 AND NOT is_deleted
     ORDER BY version DESC
     LIMIT 1
"""  # noqa: S608 - constants of ours

SELECT_ONE = f"""
    SELECT {COLUMNS}
      FROM key_backups
     WHERE user_nid = $1 AND version = $2 AND NOT is_deleted
"""  # noqa: S608


async def find_latest_backup(db: Database, user_nid: int) -> KeyBackup | None:
    """The user's latest backup, or None."""
    row = await db.fetchrow(SELECT_LATEST, user_nid)
    return KeyBackup(*row) if row else None


async def find_backup(db: Database, user_nid: int, version: int) -> KeyBackup | None:
    """A backup of the user, or None."""
    row = await db.fetchrow(SELECT_ONE, user_nid, version)
    return KeyBackup(*row) if row else None


UPDATE_AUTH_DATA = """
    UPDATE key_backups
       SET auth_data = $3
     WHERE user_nid = $1 AND version = $2 AND NOT is_deleted
"""


async def set_auth_data(db: Database, user_nid: int, version: int, auth_data: bytes) -> None:
    """Change what a backup says of itself."""
    await db.execute(UPDATE_AUTH_DATA, user_nid, version, auth_data)


MARK_DELETED = """
    UPDATE key_backups
       SET is_deleted = true, key_count = 0
     WHERE user_nid = $1 AND version = $2
 RETURNING true
"""

DELETE_ALL_KEYS = "DELETE FROM backed_up_keys WHERE user_nid = $1 AND version = $2"


async def delete_backup(pool: Pool, user_nid: int, version: int) -> bool:
    """Delete a backup with its keys; False if there never was one of this version."""
    async with pool.transaction() as db:
        existed = await db.fetchval(MARK_DELETED, user_nid, version)
        await db.execute(DELETE_ALL_KEYS, user_nid, version)
    return bool(existed)


LOCK_LATEST = f"{SELECT_LATEST} FOR UPDATE"
LOCK_ONE = f"{SELECT_ONE} FOR UPDATE"

# Of two keys for a session the better one stays: the one that is verified, then the one that
# reaches further back, then the one that passed through fewer hands.
UPSERT_KEYS = """
    INSERT INTO backed_up_keys AS old (
           user_nid, version, room_id, session_id, first_message_index, forwarded_count,
           is_verified, session_data)
    SELECT $1, $2, new.*
      FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bytea[])
        AS new
    ON CONFLICT (user_nid, version, room_id, session_id) DO UPDATE
       SET first_message_index = excluded.first_message_index,
           forwarded_count = excluded.forwarded_count,
           is_verified = excluded.is_verified,
           session_data = excluded.session_data
     WHERE (excluded.is_verified, -excluded.first_message_index, -excluded.forwarded_count)
         > (old.is_verified, -old.first_message_index, -old.forwarded_count)
 RETURNING xmax = 0
"""

CHANGE_COUNT = f"""
    UPDATE key_backups
       SET key_count = key_count + $3, etag = etag + 1
     WHERE user_nid = $1 AND version = $2
 RETURNING {COLUMNS}
"""  # noqa: S608


async def add_backed_up_keys(
    pool: Pool, user_nid: int, version: int, keys: Sequence[BackedUpKey]
) -> KeyBackup:
    """Add keys to the latest backup, where they are better than those that it has.

    The backup as it is then. Raises `BackupReplaced` if it is not the latest.
    """
    async with pool.transaction() as db:
        row = await db.fetchrow(LOCK_LATEST, user_nid)
        backup = KeyBackup(*row) if row else None
        if backup is None or backup.version != version:
            raise BackupReplaced(backup.version if backup else None)
        written = await db.fetch(
            UPSERT_KEYS,
            user_nid,
            version,
            [key.room_id for key in keys],
            [key.session_id for key in keys],
            [key.first_message_index for key in keys],
            [key.forwarded_count for key in keys],
            [key.is_verified for key in keys],
            [key.session_data for key in keys],
        )
        if not written:
            return backup
        added = sum(is_new for (is_new,) in written)
        return KeyBackup(*await db.fetchrow(CHANGE_COUNT, user_nid, version, added))


SELECT_KEYS = """
    SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
      FROM backed_up_keys
     WHERE user_nid = $1 AND version = $2
"""
DELETE_KEYS = "DELETE FROM backed_up_keys WHERE user_nid = $1 AND version = $2"
IN_SECTION = ("", " AND room_id = $3", " AND room_id = $3 AND session_id = $4")
"""By how many IDs there are. One condition for all would have a session looked for in all keys."""


async def backed_up_keys(
    db: Database, user_nid: int, version: int, section: Section
) -> list[BackedUpKey]:
    """Keys of a backup."""
    query = SELECT_KEYS + IN_SECTION[len(section.ids)]
    rows = await db.fetch(query, user_nid, version, *section.ids)
    return [BackedUpKey(*row) for row in rows]


async def delete_backed_up_keys(
    pool: Pool, user_nid: int, version: int, section: Section
) -> KeyBackup | None:
    """Delete keys of a backup. The backup as it is then, or None if there is none."""
    async with pool.transaction() as db:
        row = await db.fetchrow(LOCK_ONE, user_nid, version)
        if row is None:
            return None
        query = DELETE_KEYS + IN_SECTION[len(section.ids)] + " RETURNING 1"
        gone = await db.fetch(query, user_nid, version, *section.ids)
        if not gone:
            return KeyBackup(*row)
        return KeyBackup(*await db.fetchrow(CHANGE_COUNT, user_nid, version, -len(gone)))
