"""The contents of media, each kept once: its hash, its size, and where the store has it.

A content is deleted when nothing refers to it any more. Whatever takes a reference away notes the
time in `released_ts`, in the same statement; an hour later a job looks whether one is left. A new
content begins so too, and whoever is about to refer to one that is there sets the time anew first:
the job cannot delete it in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database, Pool


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a file, and the key by which the store has it."""

    content_nid: int
    sha256: bytes
    size: int
    store_key: str


FIND = """
    SELECT content_nid, sha256, size, store_key, is_quarantined, released_ts
      FROM media_contents
     WHERE sha256 = $1
"""
HOLD = """
    UPDATE media_contents
       SET released_ts = greatest(released_ts, $2)
     WHERE sha256 = $1
 RETURNING content_nid, sha256, size, store_key, is_quarantined, released_ts
"""


@dataclass(frozen=True, slots=True)
class HeldContent:
    """A content that is not deleted for the next while, wherever its file is."""

    content_nid: int
    sha256: bytes
    size: int
    store_key: str | None
    is_quarantined: bool
    released_ts: int | None


async def hold_content(db: Database, sha256: bytes, now: int) -> HeldContent | None:
    """The content of a hash, kept from being deleted for an hour; None if there is none.

    One that nothing has been taken away from is safe for as long: only then does its hour begin.
    """
    row = await db.fetchrow(FIND, sha256)
    if row is not None and row["released_ts"] is not None:
        row = await db.fetchrow(HOLD, sha256, now)
    return None if row is None else HeldContent(*row)


ADD = """
    INSERT INTO media_contents (sha256, size, store_key, released_ts)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (sha256) DO UPDATE
       SET store_key = excluded.store_key, released_ts = excluded.released_ts
 RETURNING content_nid
"""


async def add_content(db: Database, sha256: bytes, size: int, store_key: str, now: int) -> int:
    """Note where a new content is, to which nothing refers yet; its number.

    The newer of two keys of the same content counts.
    """
    content_nid: int = await db.fetchval(ADD, sha256, size, store_key, now)
    return content_nid


RELEASED = """
    SELECT content_nid
      FROM media_contents AS c
     WHERE released_ts < $1
     ORDER BY released_ts
     LIMIT $2
       FOR UPDATE
"""

STILL_USED = """
    UPDATE media_contents AS c
       SET released_ts = NULL
     WHERE content_nid = ANY($1::bigint[])
       AND (EXISTS (SELECT FROM media AS m WHERE m.content_nid = c.content_nid)
            OR EXISTS (SELECT FROM media_thumbnails AS t
                        WHERE t.made_nid = c.content_nid AND t.content_nid <> c.content_nid))
 RETURNING content_nid
"""

DELETE_THUMBNAILS = """
    WITH gone AS (
        DELETE FROM media_thumbnails
         WHERE content_nid = ANY($1::bigint[])
     RETURNING made_nid)
    UPDATE media_contents
       SET released_ts = $2
     WHERE content_nid IN (SELECT made_nid FROM gone)
"""

EMPTY_QUARANTINED = """
    WITH emptied AS (
        SELECT content_nid, store_key
          FROM media_contents
         WHERE content_nid = ANY($1::bigint[]) AND is_quarantined)
    UPDATE media_contents AS c
       SET store_key = NULL, released_ts = NULL
      FROM emptied AS e
     WHERE c.content_nid = e.content_nid
 RETURNING e.content_nid, e.store_key
"""

DELETE = """
    DELETE FROM media_contents
     WHERE content_nid = ANY($1::bigint[])
 RETURNING store_key
"""


async def delete_unused_contents(
    pool: Pool, released_before: int, now: int, limit: int
) -> tuple[int, list[str]]:
    """Forget contents that nothing refers to any more, with the thumbnails made of them.

    How many were looked at, and the keys of those to delete from the store. The hashes of
    quarantined ones are remembered.
    """
    async with pool.transaction() as db:
        found = {row[0] for row in await db.fetch(RELEASED, released_before, limit)}
        used = {row[0] for row in await db.fetch(STILL_USED, list(found))}
        unused = found - used
        if not unused:
            return len(found), []
        await db.execute(DELETE_THUMBNAILS, list(unused), now)
        emptied = dict(await db.fetch(EMPTY_QUARANTINED, list(unused)))
        rows = await db.fetch(DELETE, list(unused - emptied.keys()))
        keys = [*emptied.values(), *(row[0] for row in rows)]
    return len(found), [key for key in keys if key is not None]


SELECT_KNOWN = "SELECT store_key FROM media_contents WHERE store_key = ANY($1::text[])"


async def known_keys(db: Database, keys: Sequence[str]) -> set[str]:
    """Those of the store's keys under which a content is."""
    return {row[0] for row in await db.fetch(SELECT_KNOWN, keys)}


@dataclass(frozen=True, slots=True)
class Made:
    """A thumbnail that was made: what it contains and of what type it is."""

    content: Content
    content_type: str


@dataclass(frozen=True, slots=True)
class Size:
    """Which thumbnail of a content."""

    width: int
    height: int
    method: str
    is_animated: bool


FIND_THUMBNAIL = """
    SELECT c.content_nid, c.sha256, c.size, c.store_key, t.content_type
      FROM media_thumbnails AS t
      JOIN media_contents AS c ON c.content_nid = t.made_nid
     WHERE t.content_nid = $1 AND t.width = $2 AND t.height = $3 AND t.method = $4
       AND t.is_animated = $5 AND c.store_key IS NOT NULL
"""


async def find_thumbnail(db: Database, content_nid: int, size: Size) -> Made | None:
    """A thumbnail that was made before, or None."""
    row = await db.fetchrow(
        FIND_THUMBNAIL, content_nid, size.width, size.height, size.method, size.is_animated
    )
    return None if row is None else Made(Content(*row[:4]), row[4])


ADD_THUMBNAIL = """
    INSERT INTO media_thumbnails (content_nid, width, height, method, is_animated, made_nid,
                                  content_type)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (content_nid, width, height, method, is_animated) DO UPDATE
       SET made_nid = excluded.made_nid, content_type = excluded.content_type
"""


async def add_thumbnail(
    db: Database, content_nid: int, size: Size, made_nid: int, content_type: str
) -> None:
    """Note a thumbnail of a content."""
    await db.execute(
        ADD_THUMBNAIL,
        content_nid,
        size.width,
        size.height,
        size.method,
        size.is_animated,
        made_nid,
        content_type,
    )
