"""What the database knows of backups: when the last one was made, and that one is being made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from storage.database import Database, Pool

BACKUP_LOCK = 0x6865617274680002
"""Held exclusively while a backup is made, and shared while files of the store are deleted."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """A backup that was finished, the stream position that it has, and its size in bytes."""

    finished_ts: int
    position: int
    size: int
    media: str


UPSERT = """
    INSERT INTO last_backup (finished_ts, position, size, media)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (singleton) DO UPDATE
       SET finished_ts = excluded.finished_ts, position = excluded.position,
           size = excluded.size, media = excluded.media
"""


async def note_backup(db: Database, backup: LastBackup) -> None:
    """Remember a backup as the last one, if the database has a place for it already."""
    if await db.fetchval("SELECT to_regclass('last_backup')") is not None:
        await db.execute(UPSERT, backup.finished_ts, backup.position, backup.size, backup.media)


async def find_last_backup(db: Database) -> LastBackup | None:
    """The last backup, or None if there never was one."""
    if await db.fetchval("SELECT to_regclass('last_backup')") is None:
        return None
    row = await db.fetchrow("SELECT finished_ts, position, size, media FROM last_backup")
    return None if row is None else LastBackup(*row)


TRY_SHARED = "SELECT pg_try_advisory_xact_lock_shared($1)"


@asynccontextmanager
async def deleting_files(pool: Pool) -> AsyncIterator[bool]:
    """Whether files may be deleted: not while a backup is made, which begins only afterwards."""
    async with pool.transaction() as db:
        yield await db.fetchval(TRY_SHARED, BACKUP_LOCK)


async def keep_files(db: Database, patience_s: int) -> None:
    """Have no file of the store deleted for as long as this connection lives.

    Waits for deletions that are under way. Raises `asyncpg.LockNotAvailableError`.
    """
    await db.execute(f"SET lock_timeout = '{patience_s}s'")
    await db.execute("SELECT pg_advisory_lock($1)", BACKUP_LOCK)
    await db.execute("RESET lock_timeout")


SELECT_TO_COPY = """
    SELECT content_nid, store_key, size
      FROM media_contents
     WHERE content_nid > $1 AND content_nid <= $2 AND store_key IS NOT NULL
     ORDER BY content_nid
     LIMIT $3
"""


async def contents_to_copy(
    db: Database, after: int, upto: int, limit: int
) -> list[tuple[int, str, int]]:
    """The next contents whose files are in the store: number, key and size."""
    return [(row[0], row[1], row[2]) for row in await db.fetch(SELECT_TO_COPY, after, upto, limit)]


SELECT_NEWEST = """
    SELECT store_key
      FROM media_contents
     WHERE store_key IS NOT NULL
     ORDER BY content_nid DESC
     LIMIT $1
"""


async def newest_files(db: Database, limit: int) -> list[str]:
    """The keys of files that should be in the store, the newest ones."""
    if await db.fetchval("SELECT to_regclass('media_contents')") is None:
        return []
    return [row[0] for row in await db.fetch(SELECT_NEWEST, limit)]


SELECT_EXTENT = """
    SELECT coalesce(max(content_nid), 0), count(*), coalesce(sum(size), 0)::bigint
      FROM media_contents
     WHERE store_key IS NOT NULL
"""


async def extent_of_contents(db: Database) -> tuple[int, int, int]:
    """The last number of a content with a file, how many there are, and their bytes."""
    last, count, size = await db.fetchrow(SELECT_EXTENT)
    return last, count, size
