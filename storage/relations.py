"""Events by what they relate to: children of events, threads of rooms.

Relations carry the stream position of their event; within a room's children that is the order of
its history, older events that were fetched later included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row

MAX_RECURSION = 3
"""How many steps from an event to those that relate to it indirectly."""


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A thread: how many replies it has, the latest, and whether one is the viewer's."""

    count: int
    latest_nid: int
    has_viewer: bool


@dataclass(frozen=True, slots=True)
class ChildSummary:
    """What the children of events amount to, by the events' IDs.

    `edits` has the number of the latest valid edit, also for the latest replies of the threads;
    `references` has the IDs of the referring events in order.
    """

    edits: dict[str, int]
    references: dict[str, list[str]]
    threads: dict[str, ThreadSummary]


SUMMARISE = """
      WITH children AS MATERIALIZED (
           SELECT parent_event_id, rel_type, event_nid, stream_position, sender_nid, type_nid
             FROM relations
            WHERE parent_event_id = ANY($1::text[])
              AND rel_type IN ('m.replace', 'm.reference', 'm.thread')
              AND stream_position IS NOT NULL
              AND sender_nid <> ALL($3::integer[])),
           threads AS MATERIALIZED (
           SELECT parent_event_id,
                  count(*) AS size,
                  (array_agg(event_nid ORDER BY stream_position DESC))[1] AS latest_nid,
                  bool_or(sender_nid = $2) AS has_viewer
             FROM children
            WHERE rel_type = 'm.thread'
            GROUP BY parent_event_id),
           replacements AS (
           SELECT parent_event_id, event_nid, sender_nid, type_nid
             FROM children
            WHERE rel_type = 'm.replace'
            UNION ALL
           SELECT r.parent_event_id, r.event_nid, r.sender_nid, r.type_nid
             FROM threads AS t
             JOIN events AS latest ON latest.event_nid = t.latest_nid
             JOIN relations AS r ON r.parent_event_id = latest.event_id
            WHERE r.rel_type = 'm.replace' AND r.stream_position IS NOT NULL),
           edits AS (
           SELECT DISTINCT ON (parent.event_id) parent.event_id, e.event_nid
             FROM replacements AS r
             JOIN events AS parent ON parent.event_id = r.parent_event_id
             JOIN events AS e ON e.event_nid = r.event_nid
            WHERE parent.sender_nid = r.sender_nid
              AND parent.type_nid = r.type_nid
              AND parent.place_nid IS NULL
              AND e.place_nid IS NULL
              AND e.room_nid = parent.room_nid
            ORDER BY parent.event_id, e.origin_server_ts DESC, e.event_id DESC),
           referring AS (
           SELECT c.parent_event_id, array_agg(e.event_id ORDER BY c.stream_position) AS ids
             FROM children AS c
             JOIN events AS e USING (event_nid)
            WHERE c.rel_type = 'm.reference'
            GROUP BY c.parent_event_id)
    SELECT 'm.replace', event_id, event_nid, NULL::bigint, NULL::boolean, NULL::text[] FROM edits
     UNION ALL
    SELECT 'm.thread', parent_event_id, latest_nid, size, has_viewer, NULL FROM threads
     UNION ALL
    SELECT 'm.reference', parent_event_id, NULL, NULL, NULL, ids FROM referring
"""


async def summarise_children(
    db: Database, event_ids: Sequence[str], viewer_nid: int, ignored: Sequence[int]
) -> ChildSummary:
    """What the children of these events amount to, less what ignored senders have sent.

    An edit is valid if it has its target's sender and type and neither is a state event.
    Source: client-server API, "Validity of replacement events".
    """
    summary = ChildSummary({}, {}, {})
    rows = await db.fetch(SUMMARISE, event_ids, viewer_nid, ignored)
    for rel_type, event_id, child_nid, count, has_viewer, child_ids in rows:
        if rel_type == "m.replace":
            summary.edits[event_id] = child_nid
        elif rel_type == "m.thread":
            summary.threads[event_id] = ThreadSummary(count, child_nid, has_viewer)
        else:
            summary.references[event_id] = child_ids
    return summary


@dataclass(frozen=True, slots=True)
class Children:
    """Which children of an event are asked for: between two stream positions, of some kind."""

    room_nid: int
    parent_event_id: str
    after: int
    upto: int
    rel_type: str | None = None
    type_nid: int | None = None
    recursion: int = 1


def _select_children(order: str) -> str:
    return f"""
          WITH RECURSIVE related AS (
               SELECT event_nid, stream_position, 1 AS level
                 FROM relations
                WHERE parent_event_id = $2
                  AND room_nid = $1
                  AND stream_position IS NOT NULL
                  AND ($5::text IS NULL OR rel_type = $5)
                  AND ($6::integer IS NULL OR type_nid = $6)
                UNION
               SELECT r.event_nid, r.stream_position, related.level + 1
                 FROM related
                 JOIN events AS e ON e.event_nid = related.event_nid
                 JOIN relations AS r ON r.parent_event_id = e.event_id
                WHERE related.level < $7
                  AND r.room_nid = $1
                  AND r.stream_position IS NOT NULL
                  AND ($5 IS NULL OR r.rel_type = $5)
                  AND ($6 IS NULL OR r.type_nid = $6)),
               chosen AS (
               SELECT DISTINCT event_nid, stream_position
                 FROM related
                WHERE stream_position > $3 AND stream_position <= $4
                ORDER BY stream_position {order}
                LIMIT $8)
        SELECT {COLUMNS}
          FROM chosen
          JOIN events AS e USING (event_nid)
         ORDER BY chosen.stream_position {order}
    """  # noqa: S608 - constants of ours


SELECT_CHILDREN_FORWARDS = _select_children("ASC")
SELECT_CHILDREN_BACKWARDS = _select_children("DESC")


async def children_of(
    db: Database, wanted: Children, limit: int, *, backwards: bool
) -> list[StoredEvent]:
    """The first `limit` children, or the latest ones, newest first, if `backwards`.

    Indirect ones are found through such only as meet the conditions themselves.
    """
    rows = await db.fetch(
        SELECT_CHILDREN_BACKWARDS if backwards else SELECT_CHILDREN_FORWARDS,
        wanted.room_nid,
        wanted.parent_event_id,
        wanted.after,
        wanted.upto,
        wanted.rel_type,
        wanted.type_nid,
        wanted.recursion,
        limit,
    )
    return [event_of_row(row) for row in rows]


SELECT_THREADS = f"""
      WITH replies AS MATERIALIZED (
           SELECT parent_event_id, stream_position
             FROM relations
            WHERE room_nid = $1
              AND rel_type = 'm.thread'
              AND stream_position IS NOT NULL
              AND stream_position <= $2
              AND sender_nid <> ALL($3::integer[])
            ORDER BY stream_position DESC
            LIMIT $4),
           threads AS (
           SELECT parent_event_id, max(stream_position) AS latest
             FROM replies
            GROUP BY parent_event_id)
    SELECT t.latest, {COLUMNS}
      FROM threads AS t
      JOIN events AS e ON e.event_id = t.parent_event_id
     WHERE e.room_nid = $1
       AND e.stream_position IS NOT NULL
       AND NOT EXISTS (
           SELECT FROM relations AS newer
            WHERE newer.parent_event_id = t.parent_event_id
              AND newer.rel_type = 'm.thread'
              AND newer.room_nid = $1
              AND newer.stream_position > $2
              AND newer.sender_nid <> ALL($3))
       AND ($5::integer IS NULL OR e.sender_nid = $5 OR EXISTS (
           SELECT FROM relations AS own
            WHERE own.parent_event_id = t.parent_event_id
              AND own.rel_type = 'm.thread'
              AND own.stream_position IS NOT NULL
              AND own.sender_nid = $5))
     ORDER BY t.latest DESC
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ThreadRoot:
    """An event that threads start from, and the position of the latest reply."""

    event: StoredEvent
    latest: int


SELECT_OLDEST_REPLY = """
    SELECT stream_position
      FROM relations
     WHERE room_nid = $1
       AND rel_type = 'm.thread'
       AND stream_position IS NOT NULL
       AND stream_position <= $2
       AND sender_nid <> ALL($3::integer[])
     ORDER BY stream_position DESC
    OFFSET $4 - 1
     LIMIT 1
"""


async def threads_of(
    db: Database,
    room_nid: int,
    upto: int,
    ignored: Sequence[int],
    participant: int | None,
    length: int,
) -> tuple[list[ThreadRoot], int | None]:
    """Roots of the threads whose latest reply is among the `length` replies up to a position.

    The thread that was replied to last comes first. The second part of the answer is the position
    of the oldest reply that was looked at, None if there are no older ones. With a `participant`,
    only threads that this user has a part in.
    """
    rows = await db.fetch(SELECT_THREADS, room_nid, upto, ignored, length, participant)
    oldest = await db.fetchval(SELECT_OLDEST_REPLY, room_nid, upto, ignored, length)
    return [ThreadRoot(event_of_row(row[1:]), row[0]) for row in rows], oldest


@dataclass(frozen=True, slots=True)
class Relation:
    """What an event relates to, by its `m.relates_to`."""

    rel_type: str
    parent_event_id: str
    annotation_key: str | None


INSERT_RELATIONS = """
    INSERT INTO relations (
           event_nid, stream_position, room_nid, sender_nid, type_nid, rel_type, parent_event_id,
           annotation_key)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[],
                         $6::text[], $7::text[], $8::text[])
"""


RelationRow = tuple[int, int | None, int, int, int, str, str, str | None]
"""The numbers of an event, its position, its room, its sender and its type, and its relation."""


async def add_relations(db: Database, rows: Sequence[RelationRow]) -> None:
    """Note what events relate to."""
    if rows:
        await db.execute(INSERT_RELATIONS, *map(list, zip(*rows, strict=True)))
