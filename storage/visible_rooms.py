"""Rooms that somebody is or was in: whether without a break, and whether they were forgotten."""

from collections.abc import Iterable, Mapping, Sequence

from federation.protocol.canonical_json import decode
from storage.database import Database

SELECT_LEFT = """
    SELECT departure.room_nid, former.json
      FROM events AS departure
      JOIN events AS former ON former.event_nid = departure.replaces_nid
     WHERE departure.event_nid = ANY($1::bigint[])
"""


async def left_from_inside(db: Database, event_nids: Sequence[int]) -> set[int]:
    """The rooms of those member events that ended a membership of somebody who was joined."""
    rows = await db.fetch(SELECT_LEFT, event_nids)
    return {nid for nid, encoded in rows if decode(encoded)["content"].get("membership") == "join"}


SELECT_FORGOTTEN = """
    SELECT room_nid
      FROM memberships
     WHERE user_nid = $1 AND room_nid = ANY($2::integer[]) AND forgotten
"""


async def forgotten_among(db: Database, user_nid: int, room_nids: Iterable[int]) -> set[int]:
    """Those of the rooms that the user has forgotten."""
    return {nid for (nid,) in await db.fetch(SELECT_FORGOTTEN, user_nid, list(room_nids))}


# The latest event up to the position is the membership then; all after it must be joins too. What
# is in them is read here: PostgreSQL's JSON type refuses some events that are good.
SELECT_MEMBERSHIPS_SINCE = """
    SELECT r.room_nid, own.json
      FROM unnest($1::integer[], $2::bigint[]) AS r (room_nid, since)
     CROSS JOIN LATERAL (
           SELECT max(stream_position) AS position
             FROM events
            WHERE events.room_nid = r.room_nid
              AND events.place_nid = $3
              AND events.stream_position <= r.since) AS former
      JOIN events AS own
        ON own.room_nid = r.room_nid
       AND own.place_nid = $3
       AND own.stream_position >= former.position
     WHERE own.event_nid <> ALL($4::bigint[])
"""


async def stayed_inside(
    db: Database, place_nid: int, since: Mapping[int, int], but_for: Iterable[int]
) -> set[int]:
    """The rooms that a member was in at a position (by room) and has been in ever since.

    The member is told by the place of its events; events `but_for` these count.
    """
    rows = await db.fetch(
        SELECT_MEMBERSHIPS_SINCE, list(since), list(since.values()), place_nid, list(but_for)
    )
    outside = {
        nid for nid, encoded in rows if decode(encoded)["content"].get("membership") != "join"
    }
    return {nid for nid, _ in rows} - outside
