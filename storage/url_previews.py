"""Previews of URLs, as they were at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database, Pool
from storage.media import delete_media


@dataclass(frozen=True, slots=True)
class NewPreview:
    """A preview to be kept; `media_ids` are our media that belong to it."""

    url: str
    fetched_ts: int
    expires_ts: int
    preview: bytes
    media_ids: Sequence[str]


SELECT = """
    SELECT preview
      FROM url_previews
     WHERE url = $1 AND (expires_ts > $3 OR (fetched_ts <= $2 AND expires_ts > $2))
     ORDER BY (fetched_ts <= $2 AND expires_ts > $2) DESC, fetched_ts DESC
     LIMIT 1
"""


async def find_preview(db: Database, url: str, ts: int, now: int) -> bytes | None:
    """The preview that was shown at a time, else one that can be shown now, or None."""
    preview: bytes | None = await db.fetchval(SELECT, url, ts, now)
    return preview


INSERT = """
    INSERT INTO url_previews (url, fetched_ts, expires_ts, preview, media_ids)
    VALUES ($1, $2, $3, $4, $5::text[])
"""


async def add_preview(db: Database, new: NewPreview) -> None:
    """Keep a preview."""
    await db.execute(
        INSERT, new.url, new.fetched_ts, new.expires_ts, new.preview, list(new.media_ids)
    )


DELETE = """
    DELETE FROM url_previews
     WHERE preview_nid IN (
           SELECT preview_nid
             FROM url_previews
            WHERE expires_ts < $1
            ORDER BY expires_ts
            LIMIT $2)
 RETURNING media_ids
"""


async def delete_expired_previews(pool: Pool, expired_before: int, now: int, limit: int) -> int:
    """Delete previews with the media that belong to them; how many previews."""
    async with pool.transaction() as db:
        rows = await db.fetch(DELETE, expired_before, limit)
        await delete_media(db, [media_id for (media_ids,) in rows for media_id in media_ids], now)
    return len(rows)
