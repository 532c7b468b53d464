"""With whom a user has begun or ceased to be in a room, between two positions of the stream.

What is in a member event is read here rather than by PostgreSQL, whose JSON type refuses some
events that are good.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.canonical_json import decode
from storage.database import Database

BEFORE = """
    SELECT e.json
      FROM events AS now
      JOIN events AS e ON e.room_nid = now.room_nid AND e.place_nid = now.place_nid
     WHERE now.event_nid = theirs.event_nid AND e.stream_position <= $2
     ORDER BY e.stream_position DESC
     LIMIT 1
"""
"""The member event before the time in question, of the memberships `theirs`."""

BETWEEN = """
    SELECT array_agg(e.json)
      FROM events AS now
      JOIN events AS e ON e.room_nid = now.room_nid AND e.place_nid = now.place_nid
     WHERE now.event_nid = theirs.event_nid
       AND e.stream_position > $2 AND e.stream_position <= $3
"""
"""The member events of that time."""

# A room in which both were all the while makes it nothing new to meet in another one.
SELECT_MET = f"""
      WITH met AS (
           SELECT theirs.user_nid, true AS is_certain, NULL::bytea AS before,
                  NULL::bytea[] AS between_
             FROM memberships AS theirs
            WHERE theirs.room_nid = ANY($4::integer[]) AND theirs.membership = 1
            UNION ALL
           SELECT theirs.user_nid, false, ({BEFORE}), ({BETWEEN})
             FROM memberships AS theirs
            WHERE theirs.stream_position > $2 AND theirs.stream_position <= $3
              AND theirs.membership = 1 AND theirs.user_nid <> $1
              AND theirs.room_nid <> ALL($4::integer[])
              AND EXISTS (
                  SELECT FROM memberships AS mine
                   WHERE mine.user_nid = $1 AND mine.room_nid = theirs.room_nid
                     AND mine.membership = 1))
    SELECT u.user_id, met.is_certain, met.before, met.between_
      FROM met
      JOIN users AS u USING (user_nid)
     WHERE met.user_nid = $1 OR NOT EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS mine ON mine.room_nid = theirs.room_nid
            WHERE theirs.user_nid = met.user_nid AND theirs.membership = 1
              AND theirs.stream_position <= $2
              AND mine.user_nid = $1 AND mine.membership = 1
              AND mine.room_nid <> ALL($4::integer[]))
"""  # noqa: S608 - constants of ours

SELECT_PARTED = f"""
      WITH parted AS (
           SELECT theirs.user_nid, true AS is_certain, NULL::bytea AS before
             FROM memberships AS theirs
            WHERE theirs.room_nid = ANY($4::integer[]) AND theirs.membership = 1
            UNION ALL
           SELECT theirs.user_nid, false, ({BEFORE})
             FROM memberships AS theirs
            WHERE theirs.stream_position > $2 AND theirs.stream_position <= $3
              AND theirs.membership <> 1
              AND (theirs.room_nid = ANY($4::integer[]) OR EXISTS (
                  SELECT FROM memberships AS mine
                   WHERE mine.user_nid = $1 AND mine.room_nid = theirs.room_nid
                     AND mine.membership = 1)))
    SELECT u.user_id, parted.is_certain, parted.before
      FROM parted
      JOIN users AS u USING (user_nid)
     WHERE parted.user_nid <> $1 AND NOT EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS mine ON mine.room_nid = theirs.room_nid
            WHERE theirs.user_nid = parted.user_nid AND theirs.membership = 1
              AND mine.user_nid = $1 AND mine.membership = 1)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time in question, from after `since` up to `upto`, and what a user did in it.

    `entered` are the rooms that the user came into, `left` those that the user went out of.
    """

    since: int
    upto: int
    entered: Iterable[int]
    left: Iterable[int]


async def users_met(db: Database, viewer_nid: int, time: Stretch) -> set[str]:
    """Those with whom a user shares a room by now and did not share one all the while.

    The user is among them who came into a room.
    """
    rows = await db.fetch(SELECT_MET, viewer_nid, time.since, time.upto, list(time.entered))
    return {
        user_id
        for user_id, is_certain, before, between in rows
        if is_certain or not is_join(before) or not all(is_join(event) for event in between or ())
    }


async def users_parted(db: Database, viewer_nid: int, time: Stretch) -> set[str]:
    """Those with whom a user shared a room before and shares none any more."""
    rows = await db.fetch(SELECT_PARTED, viewer_nid, time.since, time.upto, list(time.left))
    return {user_id for user_id, is_certain, before in rows if is_certain or is_join(before)}


def is_join(event: bytes | None) -> bool:
    """Whether a member event says that the member is in the room."""
    return event is not None and decode(event)["content"].get("membership") == "join"
