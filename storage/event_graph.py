"""The graph of a room's events: walks along `prev_events`, and events as they are handed on.

A walk is one query whatever its length: PostgreSQL follows the edges breadth first and stops when
enough events have been found. Rows come with the stored JSON, which nobody parses on the way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.changes import Standing
from storage.database import Database

COLUMNS = """
    e.event_nid, e.event_id, e.room_nid, e.stream_position, e.depth, e.place_nid, e.snapshot_nid,
    e.replaces_nid, e.standing, e.json
"""


@dataclass(frozen=True, slots=True)
class GraphEvent:
    """An event as its row has it, with the signed JSON unread.

    `snapshot_nid` is the state after the event, `replaces_nid` the event whose place it took.
    """

    event_nid: int
    event_id: str
    room_nid: int
    position: int | None
    depth: int
    place_nid: int | None
    snapshot_nid: int | None
    replaces_nid: int | None
    standing: int
    json: bytes


SELECT_BY_ID = f"SELECT {COLUMNS} FROM events AS e WHERE e.event_id = $1"  # noqa: S608


async def find_graph_event(db: Database, event_id: str) -> GraphEvent | None:
    """The event of this ID, in whatever standing, or None."""
    row = await db.fetchrow(SELECT_BY_ID, event_id)
    return None if row is None else GraphEvent(*row)


SHOWN = (int(Standing.ACCEPTED), int(Standing.SOFT_FAILED))
"""Walks show soft-failed events too, where an event that is asked about refers to them."""

SELECT_BEFORE = f"""
      WITH RECURSIVE walk AS (
           SELECT event_nid, prev_nids
             FROM events
            WHERE event_id = ANY($2::text[]) AND room_nid = $1
            UNION
           SELECT e.event_nid, e.prev_nids
             FROM walk
            CROSS JOIN LATERAL unnest(walk.prev_nids) AS prev (event_nid)
            CROSS JOIN LATERAL (
                  SELECT event_nid, prev_nids
                    FROM events
                   WHERE events.event_nid = prev.event_nid AND room_nid = $1
                  OFFSET 0) AS e)
    SELECT {COLUMNS}
      FROM events AS e
     WHERE e.event_nid = ANY(ARRAY(SELECT event_nid FROM walk LIMIT $3))
       AND e.standing = ANY($4::smallint[])
     ORDER BY e.depth DESC, e.event_nid DESC
"""  # noqa: S608


async def events_before(
    db: Database, room_nid: int, event_ids: Sequence[str], limit: int
) -> list[GraphEvent]:
    """At most `limit` events: those given, as far as the room has them, and what precedes them.

    The latest come first. Rejected events and outliers are passed over.
    """
    rows = await db.fetch(SELECT_BEFORE, room_nid, event_ids, limit, SHOWN)
    return [GraphEvent(*row) for row in rows]


SELECT_BETWEEN = f"""
      WITH RECURSIVE ends AS MATERIALIZED (
           SELECT event_nid, prev_nids, event_id = ANY($2::text[]) AS is_latest
             FROM events
            WHERE event_id = ANY($2::text[] || $3::text[]) AND room_nid = $1),
           walk AS (
           SELECT 0::bigint AS event_nid, prev_nids
             FROM ends
            WHERE is_latest
            UNION
           SELECT e.event_nid, e.prev_nids
             FROM walk
            CROSS JOIN LATERAL unnest(walk.prev_nids) AS prev (event_nid)
            CROSS JOIN LATERAL (
                  SELECT event_nid, prev_nids
                    FROM events
                   WHERE events.event_nid = prev.event_nid AND room_nid = $1 AND depth >= $4
                  OFFSET 0) AS e
            WHERE e.event_nid <> ALL(ARRAY(SELECT event_nid FROM ends)))
    SELECT {COLUMNS}
      FROM events AS e
     WHERE e.event_nid = ANY(ARRAY(SELECT event_nid FROM walk WHERE event_nid <> 0 LIMIT $5))
       AND e.standing = ANY($6::smallint[])
     ORDER BY e.depth, e.event_nid
"""  # noqa: S608


async def events_between(
    db: Database,
    room_nid: int,
    earliest: Sequence[str],
    latest: Sequence[str],
    min_depth: int,
    limit: int,
) -> list[GraphEvent]:
    """At most `limit` events that precede `latest`, without these and what is beyond `earliest`.

    Those closest to `latest` are chosen, and given with the oldest first. Rejected events and
    outliers are passed over.
    """
    rows = await db.fetch(SELECT_BETWEEN, room_nid, latest, earliest, min_depth, limit, SHOWN)
    return [GraphEvent(*row) for row in rows]


SELECT_PDUS = """
    SELECT json
      FROM events
     WHERE event_nid = ANY($1::bigint[])
     ORDER BY depth, event_nid
"""


async def get_pdus(db: Database, event_nids: Iterable[int]) -> list[bytes]:
    """The stored JSON of events, those of lower depth first."""
    return [encoded for (encoded,) in await db.fetch(SELECT_PDUS, list(event_nids))]


SELECT_SORTED_IDS = """
    SELECT event_id
      FROM events
     WHERE event_nid = ANY($1::bigint[])
     ORDER BY depth, event_nid
"""


async def get_sorted_ids(db: Database, event_nids: Iterable[int]) -> list[str]:
    """The IDs of events, those of lower depth first."""
    return [event_id for (event_id,) in await db.fetch(SELECT_SORTED_IDS, list(event_nids))]


SELECT_JSON = "SELECT event_nid, json FROM events WHERE event_nid = ANY($1::bigint[])"


async def get_json(db: Database, event_nids: Iterable[int]) -> dict[int, bytes]:
    """The stored JSON of events, by number."""
    return dict(await db.fetch(SELECT_JSON, list(event_nids)))
