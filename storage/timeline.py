"""Rooms' histories, page by page, in the order of (depth, stream position).

A page is read along one index, in either direction. With criteria, a bounded stretch of the
history is searched for events that meet them, so that a filter which nothing matches costs no
more than any other; the caller goes on from where the stretch ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row

Point = tuple[int, int]
"""Depth and stream position."""

LOWEST: Point = (-(2**63), -(2**63))
HIGHEST: Point = (2**63 - 1, 2**63 - 1)

LONGEST_STRETCH = 5_000
"""How many events of a room are searched at most at once for those that meet criteria."""

LOOK_AROUND = 1_000
"""How many events next to a stream position are asked for their depth."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a room's history: the events after one point, up to and including another.

    Where `received_after` or `received_upto` is set, only those are meant whose stream position
    lies after the one, or at most at the other.
    """

    room_nid: int
    after: Point = LOWEST
    upto: Point = HIGHEST
    received_after: int | None = None
    received_upto: int | None = None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is wanted of events; None asks for nothing.

    Types are SQL `LIKE` patterns, senders are numbers. `related_by_…` ask for events that have a
    child of such a relation or sender. `mentions_url` is met by all events that have a `url` in
    their content, and by some others.
    """

    types: Sequence[str] | None = None
    not_types: Sequence[str] = ()
    senders: Sequence[int] | None = None
    not_senders: Sequence[int] = ()
    mentions_url: bool = False
    rel_types: Sequence[str] | None = None
    not_rel_types: Sequence[str] = ()
    related_by_senders: Sequence[int] | None = None
    related_by_rel_types: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """The wanted events of a searched stretch, in the order of reading.

    `last` is the point of the last event that was looked at; None at the end of the span.
    """

    event_nids: list[int]
    last: Point | None


SPAN = """
           WHERE e.room_nid = $1
             AND e.stream_position IS NOT NULL
             AND (e.depth, e.stream_position) > ($2, $3)
             AND (e.depth, e.stream_position) <= ($4, $5)
"""

RECEIVED = """
             AND e.stream_position > $6
             AND e.stream_position <= $7
"""

FORWARDS = "ORDER BY e.depth, e.stream_position"
BACKWARDS = "ORDER BY e.depth DESC, e.stream_position DESC"

SELECT_FORWARDS = f"SELECT {COLUMNS} FROM events AS e {SPAN} {FORWARDS} LIMIT $6"  # noqa: S608
SELECT_BACKWARDS = f"SELECT {COLUMNS} FROM events AS e {SPAN} {BACKWARDS} LIMIT $6"  # noqa: S608
SELECT_RECEIVED_FORWARDS = (
    f"SELECT {COLUMNS} FROM events AS e {SPAN} {RECEIVED} {FORWARDS} LIMIT $8"  # noqa: S608
)
SELECT_RECEIVED_BACKWARDS = (
    f"SELECT {COLUMNS} FROM events AS e {SPAN} {RECEIVED} {BACKWARDS} LIMIT $8"  # noqa: S608
)


async def page_of_history(
    db: Database, span: Span, limit: int, *, backwards: bool
) -> list[StoredEvent]:
    """The first `limit` events of a span, or its last ones, newest first, if `backwards`."""
    bounds = [span.room_nid, *span.after, *span.upto]
    if span.received_after is None and span.received_upto is None:
        query = SELECT_BACKWARDS if backwards else SELECT_FORWARDS
    else:
        query = SELECT_RECEIVED_BACKWARDS if backwards else SELECT_RECEIVED_FORWARDS
        bounds += _received(span)
    return [event_of_row(row) for row in await db.fetch(query, *bounds, limit)]


def _received(span: Span) -> tuple[int, int]:
    after = LOWEST[1] if span.received_after is None else span.received_after
    upto = HIGHEST[1] if span.received_upto is None else span.received_upto
    return after, upto


WANTED = r"""
             ($9::text[] IS NULL OR e.type_nid = ANY(ARRAY(
                 SELECT type_nid FROM event_types WHERE type LIKE ANY($9))))
         AND ($10::text[] = '{}' OR e.type_nid <> ALL(ARRAY(
                 SELECT type_nid FROM event_types WHERE type LIKE ANY($10))))
         AND ($11::integer[] IS NULL OR e.sender_nid = ANY($11))
         AND e.sender_nid <> ALL($12::integer[])
         AND (NOT $13::boolean OR position('"url":'::bytea IN e.json) > 0)
         AND ($14::text[] IS NULL OR EXISTS (
                 SELECT FROM relations AS own
                  WHERE own.event_nid = e.event_nid AND own.rel_type = ANY($14)))
         AND ($15::text[] = '{}' OR NOT EXISTS (
                 SELECT FROM relations AS own
                  WHERE own.event_nid = e.event_nid AND own.rel_type = ANY($15)))
         AND ($16::integer[] IS NULL AND $17::text[] IS NULL OR EXISTS (
                 SELECT FROM relations AS child
                  WHERE child.parent_event_id = e.event_id
                    AND child.stream_position IS NOT NULL
                    AND ($16 IS NULL OR child.sender_nid = ANY($16))
                    AND ($17 IS NULL OR child.rel_type = ANY($17))))
"""


def _search(order: str) -> str:
    return f"""
          WITH scanned AS MATERIALIZED (
               SELECT e.event_nid, e.depth, e.stream_position, {WANTED} AS wanted
                 FROM events AS e
               {SPAN} {RECEIVED}
               {order}
               LIMIT $8),
               numbered AS (SELECT *, row_number() OVER () AS number FROM scanned),
               taken AS (SELECT * FROM numbered WHERE wanted ORDER BY number LIMIT $18)
        SELECT (SELECT array_agg(event_nid ORDER BY number) FROM taken),
               last.depth, last.stream_position, last.number
          FROM numbered AS last
         WHERE last.number = CASE WHEN (SELECT count(*) FROM taken) = $18
                                  THEN (SELECT max(number) FROM taken)
                                  ELSE (SELECT count(*) FROM numbered) END
    """  # noqa: S608


SEARCH_FORWARDS = _search(FORWARDS)
SEARCH_BACKWARDS = _search(BACKWARDS)


async def search_history(
    db: Database, span: Span, criteria: Criteria, limit: int, length: int, *, backwards: bool
) -> Stretch:
    """At most `limit` events that meet the criteria, of the next `length` events of a span."""
    row = await db.fetchrow(
        SEARCH_BACKWARDS if backwards else SEARCH_FORWARDS,
        span.room_nid,
        *span.after,
        *span.upto,
        *_received(span),
        length,
        criteria.types,
        criteria.not_types,
        criteria.senders,
        criteria.not_senders,
        criteria.mentions_url,
        criteria.rel_types,
        criteria.not_rel_types,
        criteria.related_by_senders,
        criteria.related_by_rel_types,
        limit,
    )
    if row is None:
        return Stretch([], None)
    event_nids, depth, position, number = row
    found = event_nids or []
    is_at_end = len(found) < limit and number < length
    return Stretch(found, None if is_at_end else (depth, position))


SELECT_LOWEST_DEPTH = """
    SELECT min(depth)
      FROM (SELECT depth
              FROM events
             WHERE room_nid = $1 AND stream_position > $2
             ORDER BY stream_position
             LIMIT $3) AS next
"""

SELECT_HIGHEST_DEPTH = """
    SELECT max(depth)
      FROM (SELECT depth
              FROM events
             WHERE room_nid = $1 AND stream_position <= $2 + 1
             ORDER BY stream_position DESC
             LIMIT $3) AS latest
"""


async def span_received_after(db: Database, span: Span, position: int) -> Span:
    """The part of a span that was received after a stream position.

    It is bounded by depth too, so that reading it does not look at all that came before. What
    arrives much later with a lower depth than all that followed the position is left out.
    """
    depth = await db.fetchval(SELECT_LOWEST_DEPTH, span.room_nid, position, LOOK_AROUND)
    after = HIGHEST if depth is None else max(span.after, (depth, LOWEST[1]))
    known = span.received_after
    return replace(
        span, after=after, received_after=position if known is None else max(known, position)
    )


async def span_received_upto(db: Database, span: Span, position: int) -> Span:
    """The part of a span that was received up to a stream position, bounded by depth too.

    The depth bound leaves in what lies right before the event at the next position: a gap there
    belongs to what was received until then.
    """
    depth = await db.fetchval(SELECT_HIGHEST_DEPTH, span.room_nid, position, LOOK_AROUND)
    upto = LOWEST if depth is None else min(span.upto, (depth, HIGHEST[1]))
    known = span.received_upto
    return replace(
        span, upto=upto, received_upto=position if known is None else min(known, position)
    )


SELECT_RECEIVED = f"""
    SELECT {COLUMNS}
      FROM events AS e
     WHERE e.room_nid = ANY($1::integer[])
       AND e.stream_position > $2
       AND e.stream_position <= $3
     ORDER BY e.stream_position
     LIMIT $4
"""  # noqa: S608


async def events_received(
    db: Database, room_nids: Sequence[int], since: int, upto: int, limit: int
) -> list[StoredEvent]:
    """The first `limit` events of rooms after a stream position up to another, in that order."""
    rows = await db.fetch(SELECT_RECEIVED, list(room_nids), since, upto, limit)
    return [event_of_row(row) for row in rows]


SELECT_LATEST = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::bigint[]) AS wanted (room_nid, upto)
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = wanted.room_nid
              AND events.stream_position IS NOT NULL
              AND events.stream_position <= wanted.upto
            ORDER BY events.depth DESC, events.stream_position DESC
            LIMIT $3) AS e
"""  # noqa: S608


async def latest_events(
    db: Database, room_upto: Mapping[int, int], limit: int
) -> dict[int, list[StoredEvent]]:
    """The last events of several rooms, each up to a stream position, oldest first."""
    found: dict[int, list[StoredEvent]] = {room_nid: [] for room_nid in room_upto}
    rows = await db.fetch(SELECT_LATEST, list(room_upto), list(room_upto.values()), limit)
    for row in rows:
        event = event_of_row(row)
        found[event.room_nid].append(event)
    for events in found.values():
        events.sort(key=place_in_history)
    return found


SELECT_NEIGHBOURS = f"""
    SELECT middle.event_nid, false, {COLUMNS}
      FROM events AS middle
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = middle.room_nid
              AND events.stream_position IS NOT NULL
              AND (events.depth, events.stream_position) < (middle.depth, middle.stream_position)
            ORDER BY events.depth DESC, events.stream_position DESC
            LIMIT $2) AS e
     WHERE middle.event_nid = ANY($1::bigint[])
     UNION ALL
    SELECT middle.event_nid, true, {COLUMNS}
      FROM events AS middle
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = middle.room_nid
              AND events.stream_position IS NOT NULL
              AND (events.depth, events.stream_position) > (middle.depth, middle.stream_position)
            ORDER BY events.depth, events.stream_position
            LIMIT $3) AS e
     WHERE middle.event_nid = ANY($1::bigint[])
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies around an event in its room's history; `before` has the nearest first."""

    before: list[StoredEvent]
    after: list[StoredEvent]


async def neighbours_of(
    db: Database, event_nids: Sequence[int], before: int, after: int
) -> dict[int, Neighbours]:
    """At most so many events before and after each of several events."""
    found = {nid: Neighbours([], []) for nid in event_nids}
    for middle, is_after, *columns in await db.fetch(
        SELECT_NEIGHBOURS, list(event_nids), before, after
    ):
        side = found[middle].after if is_after else found[middle].before
        side.append(event_of_row(columns))
    for neighbours in found.values():
        neighbours.before.sort(key=place_in_history, reverse=True)
        neighbours.after.sort(key=place_in_history)
    return found


def place_in_history(event: StoredEvent) -> Point:
    """Where an event stands in its room's history."""
    return event.depth, event.position or 0


SELECT_AT_POSITION = (
    f"SELECT {COLUMNS} FROM events AS e WHERE room_nid = $1 AND stream_position = $2"  # noqa: S608
)


SELECT_AT_POSITIONS = f"""
    SELECT {COLUMNS} FROM events AS e WHERE stream_position = ANY($1::bigint[])
"""  # noqa: S608


async def events_at(db: Database, positions: Iterable[int]) -> list[StoredEvent]:
    """The events at stream positions."""
    rows = await db.fetch(SELECT_AT_POSITIONS, list(positions))
    return [event_of_row(row) for row in rows]


async def find_event_at(db: Database, room_nid: int, position: int) -> StoredEvent | None:
    """The event of a room at a stream position."""
    row = await db.fetchrow(SELECT_AT_POSITION, room_nid, position)
    return None if row is None else event_of_row(row)


SELECT_FIRST_MEMBER = f"""
    SELECT {COLUMNS}
      FROM events AS e
     WHERE room_nid = $1
       AND stream_position IS NOT NULL
       AND type_nid = (SELECT type_nid FROM event_types WHERE type = 'm.room.member')
     ORDER BY depth, stream_position
     LIMIT 1
"""  # noqa: S608


async def find_first_member(db: Database, room_nid: int) -> StoredEvent | None:
    """The first membership in a room's history, as far as that is here."""
    row = await db.fetchrow(SELECT_FIRST_MEMBER, room_nid)
    return None if row is None else event_of_row(row)


def _select_near_time(comparison: str, order: str) -> str:
    return f"""
          WITH nearest AS MATERIALIZED (
               SELECT stream_position, row_number() OVER () AS number
                 FROM (SELECT stream_position
                         FROM events
                        WHERE room_nid = $1
                          AND stream_position IS NOT NULL
                          AND stream_position <= $3
                          AND (origin_server_ts, depth, stream_position) {comparison} ($2, $4, $5)
                        ORDER BY origin_server_ts {order}, depth {order}, stream_position {order}
                        LIMIT $6) AS ordered)
        SELECT {COLUMNS}
          FROM nearest
          JOIN events AS e USING (stream_position)
         ORDER BY nearest.number
    """  # noqa: S608


SELECT_SINCE_TIME = _select_near_time(">", "ASC")
SELECT_UNTIL_TIME = _select_near_time("<", "DESC")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, and among the events of that time a point of the history (exclusive)."""

    ts: int
    point: Point


async def events_near_time(
    db: Database, room_nid: int, moment: Moment, upto: int, limit: int, *, backwards: bool
) -> list[StoredEvent]:
    """The next events by time, up to a stream position; the last ones before, if `backwards`.

    This looks at the whole index of a room's history: times are what senders claim and follow no
    order, and an index by them would cost more with each event than these rare questions.
    """
    query = SELECT_UNTIL_TIME if backwards else SELECT_SINCE_TIME
    rows = await db.fetch(query, room_nid, moment.ts, upto, *moment.point, limit)
    return [event_of_row(row) for row in rows]
