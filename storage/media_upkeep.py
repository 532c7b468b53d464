"""Deleting media: what nobody asks for any more, and what an administrator wants gone.

What is quarantined stays, so that it is known when it comes again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database

DELETE_RESERVED = """
    WITH gone AS (
        DELETE FROM media
         WHERE media_nid = ANY(ARRAY(
               SELECT media_nid
                 FROM media
                WHERE expires_ts < $1 AND content_nid IS NULL
                ORDER BY expires_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM gone
"""


async def delete_expired_reservations(db: Database, before_ts: int, limit: int) -> int:
    """Forget IDs that were reserved and for which nothing came; how many."""
    count: int = await db.fetchval(DELETE_RESERVED, before_ts, limit)
    return count


def deleting(chosen: str) -> str:
    """The statement that deletes the media whose numbers a query chooses; $1 is the time."""
    return f"""
    WITH gone AS (
        DELETE FROM media
         WHERE media_nid = ANY(ARRAY({chosen}))
     RETURNING content_nid),
    released AS (
        UPDATE media_contents
           SET released_ts = $1
         WHERE content_nid IN (SELECT content_nid FROM gone))
    SELECT count(*) FROM gone
    """  # noqa: S608


DELETE_UNUSED = deleting("""
               SELECT media_nid
                 FROM media
                WHERE (origin = '') = $2 AND last_access_ts < $3 AND content_nid IS NOT NULL
                  AND quarantined_by IS NULL AND NOT is_protected
                ORDER BY last_access_ts
                LIMIT $4""")


async def delete_unused_media(
    db: Database, now: int, *, ours: bool, before_ts: int, limit: int
) -> int:
    """Forget media, our own or those of others, that nobody has asked for since; how many."""
    count: int = await db.fetchval(DELETE_UNUSED, now, ours, before_ts, limit)
    return count


DELETE_EXCESS = deleting("""
               SELECT media_nid
                 FROM (SELECT media_nid, last_access_ts,
                              sum(c.size) OVER (ORDER BY last_access_ts DESC, media_nid) AS total
                         FROM media AS m
                         JOIN media_contents AS c USING (content_nid)
                        WHERE (m.origin = '') = false AND m.content_nid IS NOT NULL
                          AND m.quarantined_by IS NULL AND NOT m.is_protected) AS kept
                WHERE total > $2
                ORDER BY last_access_ts
                LIMIT $3""")


async def delete_excess_remote(db: Database, now: int, max_bytes: int, limit: int) -> int:
    """Forget those of other servers' media that were asked for longest ago, down to a size."""
    count: int = await db.fetchval(DELETE_EXCESS, now, max_bytes, limit)
    return count


DELETE_NAMED = deleting("""
               SELECT media_nid FROM media WHERE origin = $2 AND media_id = $3""")


async def delete_named_media(db: Database, now: int, origin: str, media_id: str) -> bool:
    """Forget a medium; whether it was there."""
    return bool(await db.fetchval(DELETE_NAMED, now, origin, media_id))


DELETE_OF_USER = deleting("""
               SELECT media_nid
                 FROM media
                WHERE user_nid = $2 AND quarantined_by IS NULL
                ORDER BY created_ts
                LIMIT $3""")


async def delete_media_of_user(db: Database, now: int, user_nid: int, limit: int) -> int:
    """Forget what a user has uploaded, at most so much; how many."""
    count: int = await db.fetchval(DELETE_OF_USER, now, user_nid, limit)
    return count


@dataclass(frozen=True, slots=True)
class Usage:
    """What a part of the media takes."""

    count: int
    size: int


SELECT_USAGE = """
    SELECT origin = '', count(*), coalesce(sum(size), 0)::bigint
      FROM media
      JOIN media_contents USING (content_nid)
     WHERE store_key IS NOT NULL
     GROUP BY 1
"""
SELECT_CONTENT_USAGE = """
    SELECT count(*), coalesce(sum(size), 0)::bigint
      FROM media_contents
     WHERE store_key IS NOT NULL
"""


async def get_usage(db: Database) -> tuple[Usage, Usage, Usage]:
    """What our own media take, those of other servers, and all files of the store together."""
    parts = {row[0]: Usage(row[1], row[2]) for row in await db.fetch(SELECT_USAGE)}
    none = Usage(0, 0)
    files = Usage(*await db.fetchrow(SELECT_CONTENT_USAGE))
    return parts.get(True, none), parts.get(False, none), files


SELECT_USERS = """
    SELECT u.user_id, count(*), sum(c.size)::bigint
      FROM media AS m
      JOIN media_contents AS c USING (content_nid)
      JOIN users AS u USING (user_nid)
     GROUP BY u.user_id
     ORDER BY 3 DESC
     LIMIT $1
"""


async def largest_users(db: Database, limit: int) -> list[tuple[str, Usage]]:
    """The users who have uploaded most, the largest first."""
    return [(row[0], Usage(row[1], row[2])) for row in await db.fetch(SELECT_USERS, limit)]


@dataclass(frozen=True, slots=True)
class Listed:
    """A medium as an administrator sees it."""

    media_id: str
    size: int
    content_type: str
    upload_name: str | None
    created_ts: int
    last_access_ts: int
    quarantined_by: str | None
    is_protected: bool


SELECT_OF_USER = """
    SELECT m.media_id, coalesce(c.size, 0), m.content_type, m.upload_name, m.created_ts,
           m.last_access_ts, m.quarantined_by, m.is_protected
      FROM media AS m
      LEFT JOIN media_contents AS c USING (content_nid)
     WHERE m.user_nid = $1
     ORDER BY m.created_ts DESC
     LIMIT $2
"""


async def media_of_user(db: Database, user_nid: int, limit: int) -> list[Listed]:
    """What a user has uploaded, the newest first."""
    return [Listed(*row) for row in await db.fetch(SELECT_OF_USER, user_nid, limit)]


SELECT_KEYS = """
    SELECT store_key
      FROM media_contents
     WHERE store_key > $1
     ORDER BY store_key
     LIMIT $2
"""


async def keys_after(db: Database, after: str, limit: int) -> Sequence[str]:
    """The next keys of the store, in order."""
    return [row[0] for row in await db.fetch(SELECT_KEYS, after, limit)]
