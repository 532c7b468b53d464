"""Media that an administrator has put away: by name, and by what they contain.

A content that is quarantined is so under every name, also when somebody uploads it again.
"""

from collections.abc import Sequence

from federation.protocol.identifiers import RoomId
from storage.database import Database

Name = tuple[str, str]
"""Origin (empty for our own) and media ID."""

ADD_UNSEEN = """
    INSERT INTO media (origin, media_id, content_type, created_ts, last_access_ts, needs_token,
                       quarantined_by)
    SELECT origin, media_id, 'application/octet-stream', $3, $3, true, $4
      FROM unnest($1::text[], $2::text[]) AS named (origin, media_id)
     WHERE origin <> ''
        ON CONFLICT DO NOTHING
"""

MARK = """
    WITH marked AS (
        UPDATE media AS m
           SET quarantined_by = $3
          FROM unnest($1::text[], $2::text[]) AS named (origin, media_id)
         WHERE m.origin = named.origin AND m.media_id = named.media_id
           AND (NOT m.is_protected OR $4)
     RETURNING m.content_nid),
    contents AS (
        UPDATE media_contents
           SET is_quarantined = true
         WHERE content_nid IN (SELECT content_nid FROM marked))
    SELECT count(*) FROM marked
"""


async def quarantine_media(
    db: Database, names: Sequence[Name], by: str, now: int, *, even_protected: bool
) -> int:
    """Put media away, those of other servers also if they were never seen; how many."""
    origins, ids = [name[0] for name in names], [name[1] for name in names]
    await db.execute(ADD_UNSEEN, origins, ids, now, by)
    count: int = await db.fetchval(MARK, origins, ids, by, even_protected)
    return count


MARK_USER = """
    WITH marked AS (
        UPDATE media
           SET quarantined_by = $2
         WHERE user_nid = $1 AND NOT is_protected AND quarantined_by IS NULL
     RETURNING content_nid),
    contents AS (
        UPDATE media_contents
           SET is_quarantined = true
         WHERE content_nid IN (SELECT content_nid FROM marked))
    SELECT count(*) FROM marked
"""


async def quarantine_user(db: Database, user_nid: int, by: str) -> int:
    """Put all media of a user away; how many."""
    count: int = await db.fetchval(MARK_USER, user_nid, by)
    return count


RELEASE = """
    WITH freed AS (
        UPDATE media_contents
           SET is_quarantined = false
         WHERE content_nid = (
               SELECT content_nid FROM media WHERE origin = $1 AND media_id = $2)
     RETURNING content_nid)
    UPDATE media
       SET quarantined_by = NULL
     WHERE (origin = $1 AND media_id = $2) OR content_nid IN (SELECT content_nid FROM freed)
"""


async def release_media(db: Database, origin: str, media_id: str) -> None:
    """Give a medium free again, and with it all that have the same content."""
    await db.execute(RELEASE, origin, media_id)


PROTECT = "UPDATE media SET is_protected = $3 WHERE origin = $1 AND media_id = $2 RETURNING true"


async def protect_media(db: Database, origin: str, media_id: str, *, is_protected: bool) -> bool:
    """Leave a medium alone when a user or a room is quarantined, or no longer; False if unknown."""
    return await db.fetchval(PROTECT, origin, media_id, is_protected) or False


SELECT_IN_ROOM = r"""
    SELECT DISTINCT found[1], found[2]
      FROM (SELECT json
              FROM events
              JOIN rooms USING (room_nid)
             WHERE room_id = $1 AND stream_position > $2 AND stream_position <= $3
               AND place_nid IS NULL) AS e,
           regexp_matches(convert_from(json, 'UTF8'),
                          '"mxc://([^"/]+)/([A-Za-z0-9_-]{1,255})"', 'g') AS found
"""

SELECT_STRETCH = """
    SELECT max(stream_position), count(*)
      FROM (SELECT stream_position
              FROM events
              JOIN rooms USING (room_nid)
             WHERE room_id = $1 AND stream_position > $2
             ORDER BY stream_position
             LIMIT $3) AS stretch
"""


async def media_in_room(
    db: Database, room_id: RoomId, after: int, limit: int
) -> tuple[int | None, list[Name]]:
    """The media that messages of a room name, those of the next `limit` events after a position.

    State is left out: a member's avatar belongs to the member. Also the position of the last of
    the events; None when there are no more.
    """
    last, _ = await db.fetchrow(SELECT_STRETCH, room_id, after, limit)
    if last is None:
        return None, []
    rows = await db.fetch(SELECT_IN_ROOM, room_id, after, last)
    return last, [(origin, media_id) for origin, media_id in rows]
