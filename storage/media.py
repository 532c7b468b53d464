"""Media: what they are called, and whose they are. Their contents are in `media_contents`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.database import Database
from storage.media_contents import Content

OURS = ""
"""The origin of this server's own media."""


@dataclass(frozen=True, slots=True)
class Media:
    """A file under its name; without a content it is a reserved ID, or quarantined unseen."""

    media_nid: int
    origin: str
    media_id: str
    user_nid: int | None
    content_type: str
    upload_name: str | None
    created_ts: int
    last_access_ts: int
    expires_ts: int | None
    needs_token: bool
    is_quarantined: bool
    """By its ID or by what it contains."""
    content: Content | None


@dataclass(frozen=True, slots=True)
class NewMedia:
    """A file that gets a name."""

    origin: str
    media_id: str
    user_nid: int | None
    content_type: str
    upload_name: str | None
    created_ts: int
    needs_token: bool


COLUMNS = """
       m.media_nid, m.origin, m.media_id, m.user_nid, m.content_type, m.upload_name, m.created_ts,
       m.last_access_ts, m.expires_ts, m.needs_token,
       m.quarantined_by IS NOT NULL OR coalesce(c.is_quarantined, false) AS is_quarantined,
       c.content_nid, c.sha256, c.size, c.store_key
"""

SELECT = f"""
    SELECT {COLUMNS}
      FROM media AS m
      LEFT JOIN media_contents AS c USING (content_nid)
     WHERE m.origin = $1 AND m.media_id = $2
"""  # noqa: S608


async def find_media(db: Database, origin: str, media_id: str) -> Media | None:
    """What is known under a name, or None."""
    row = await db.fetchrow(SELECT, origin, media_id)
    if row is None:
        return None
    content = None if row["store_key"] is None else Content(*row[-4:])
    values: list[Any] = [*row[:-4], content]
    return Media(*values)


INSERT = """
    INSERT INTO media (origin, media_id, content_nid, user_nid, content_type, upload_name,
                       created_ts, last_access_ts, needs_token)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
"""

ADD = f"{INSERT} ON CONFLICT (origin, media_id) DO NOTHING"


async def add_media(db: Database, new: NewMedia, content_nid: int) -> None:
    """Give a content a name that nobody else has chosen; doing so twice is doing it once."""
    await db.execute(
        ADD,
        new.origin,
        new.media_id,
        content_nid,
        new.user_nid,
        new.content_type,
        new.upload_name,
        new.created_ts,
        new.needs_token,
    )


KEEP_FETCHED = f"""
{INSERT}
        ON CONFLICT (origin, media_id) DO UPDATE
       SET content_nid = excluded.content_nid, content_type = excluded.content_type,
           upload_name = excluded.upload_name, created_ts = excluded.created_ts,
           last_access_ts = excluded.last_access_ts, needs_token = excluded.needs_token
     WHERE media.content_nid IS NULL AND media.quarantined_by IS NULL
"""  # noqa: S608


async def keep_fetched_media(db: Database, new: NewMedia, content_nid: int) -> None:
    """Note another server's media; what another process has fetched meanwhile stays."""
    await db.execute(
        KEEP_FETCHED,
        new.origin,
        new.media_id,
        content_nid,
        None,
        new.content_type,
        new.upload_name,
        new.created_ts,
        new.needs_token,
    )


RESERVE = """
    INSERT INTO media (origin, media_id, user_nid, content_type, created_ts, last_access_ts,
                       expires_ts, needs_token)
    VALUES ('', $1, $2, 'application/octet-stream', $3, $3, $4, $5)
"""


async def reserve_media_id(
    db: Database, media_id: str, user_nid: int, now: int, expires_ts: int, *, needs_token: bool
) -> None:
    """Reserve an ID for something that a user is going to upload."""
    await db.execute(RESERVE, media_id, user_nid, now, expires_ts, needs_token)


SELECT_RESERVED = """
    SELECT count(*), min(expires_ts)
      FROM media
     WHERE user_nid = $1 AND content_nid IS NULL AND expires_ts > $2
"""


async def count_reserved(db: Database, user_nid: int, now: int) -> tuple[int, int | None]:
    """How many IDs a user has reserved, and when the first of them expires."""
    count, first_ts = await db.fetchrow(SELECT_RESERVED, user_nid, now)
    return count, first_ts


FILL = """
    UPDATE media
       SET content_nid = $2, content_type = $3, upload_name = $4, created_ts = $5,
           last_access_ts = $5, expires_ts = NULL
     WHERE media_nid = $1 AND content_nid IS NULL AND expires_ts > $5
 RETURNING true
"""


async def fill_reserved(
    db: Database,
    media_nid: int,
    content_nid: int,
    content_type: str,
    upload_name: str | None,
    now: int,
) -> bool:
    """Give a reserved ID its content; False if it has one by now, or expired."""
    return await db.fetchval(FILL, media_nid, content_nid, content_type, upload_name, now) or False


SUM_UPLOADED = """
    SELECT coalesce(sum(c.size), 0)::bigint
      FROM media AS m
      JOIN media_contents AS c USING (content_nid)
     WHERE m.user_nid = $1 AND m.created_ts >= $2
"""


async def bytes_uploaded(db: Database, user_nid: int, since_ts: int) -> int:
    """The size of all that a user has uploaded since a time and that is still there."""
    total: int = await db.fetchval(SUM_UPLOADED, user_nid, since_ts)
    return total


SET_ACCESSED = """
    UPDATE media
       SET last_access_ts = $2
     WHERE media_nid = ANY($1::bigint[]) AND last_access_ts < $2
"""


async def set_accessed(db: Database, media_nids: Sequence[int], now: int) -> None:
    """Note that media were asked for."""
    await db.execute(SET_ACCESSED, media_nids, now)


UPLOAD_LOCK = 7_001
"""The first key of the advisory locks under which the uploads of a user are counted."""
LOCK_UPLOADS = "SELECT pg_advisory_xact_lock($1, $2)"


async def lock_uploads(db: Database, user_nid: int) -> None:
    """Let no other transaction count the user's uploads until this one has ended."""
    await db.execute(LOCK_UPLOADS, UPLOAD_LOCK, user_nid)


DELETE = """
    WITH gone AS (
        DELETE FROM media
         WHERE origin = '' AND media_id = ANY($1::text[])
     RETURNING content_nid)
    UPDATE media_contents
       SET released_ts = $2
     WHERE content_nid IN (SELECT content_nid FROM gone)
"""


async def delete_media(db: Database, media_ids: Sequence[str], now: int) -> None:
    """Forget media of ours; their contents are deleted later, if nothing else has them."""
    await db.execute(DELETE, list(media_ids), now)


SELECT_KNOWN = """
    SELECT origin, media_id
      FROM media
      JOIN unnest($1::text[], $2::text[]) AS named (origin, media_id) USING (origin, media_id)
"""


async def known_media(db: Database, names: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the names (origin and ID) under which there is something."""
    origins, ids = [name[0] for name in names], [name[1] for name in names]
    return {(row[0], row[1]) for row in await db.fetch(SELECT_KNOWN, origins, ids)}


@dataclass(frozen=True, slots=True)
class Imported:
    """A file that comes from another program, with all that it knew of it."""

    origin: str
    media_id: str
    content_nid: int
    user_nid: int | None
    content_type: str
    upload_name: str | None
    created_ts: int
    last_access_ts: int
    needs_token: bool
    quarantined_by: str | None
    is_protected: bool


IMPORT = """
    WITH added AS (
        INSERT INTO media (origin, media_id, content_nid, user_nid, content_type, upload_name,
                           created_ts, last_access_ts, needs_token, quarantined_by, is_protected)
        SELECT *
          FROM unnest($1::text[], $2::text[], $3::bigint[], $4::integer[], $5::text[], $6::text[],
                      $7::bigint[], $8::bigint[], $9::boolean[], $10::text[], $11::boolean[])
            ON CONFLICT (origin, media_id) DO NOTHING
     RETURNING content_nid, quarantined_by)
    UPDATE media_contents
       SET is_quarantined = true
     WHERE content_nid IN (SELECT content_nid FROM added WHERE quarantined_by IS NOT NULL)
"""


async def import_media(db: Database, imported: Sequence[Imported]) -> None:
    """Add files with their names; names that are taken stay as they are."""
    fields = [[getattr(one, name) for one in imported] for name in Imported.__slots__]
    await db.execute(IMPORT, *fields)
