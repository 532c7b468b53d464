"""Where the histories of rooms break off: events that follow something which is not here.

A gap lies right before the event above it, in the order of a room's history as in that of the
stream. What is missing may be fetched; the gap is gone once all of it has a place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.committer import Write
from storage.database import Database
from storage.timeline import HIGHEST, Point


@dataclass(frozen=True, slots=True)
class HistoryGap:
    """A gap right before an event: `point` comes after all that is below the gap."""

    event_nid: int
    depth: int
    position: int
    missing: tuple[str, ...] = ()

    @property
    def point(self) -> Point:
        """The place of the gap in its room's history."""
        return self.depth, self.position - 1


SELECT_BELOW = """
    SELECT event_nid, depth, stream_position, array_agg(prev_event_id)
      FROM history_gaps
     WHERE room_nid = $1
       AND stream_position IS NOT NULL
       AND (depth, stream_position) > ($2, $3)
       AND (depth, stream_position) <= ($4, $5)
       AND stream_position <= $6
       AND event_nid <> ALL($7::bigint[])
     GROUP BY event_nid, depth, stream_position
     ORDER BY depth DESC, stream_position DESC
     LIMIT 1
"""


async def find_highest_gap(
    db: Database,
    room_nid: int,
    after: Point,
    upto: Point,
    received_upto: int | None,
    passed: Iterable[int] = (),
) -> HistoryGap | None:
    """The highest gap of a part of a room's history, but for those before the `passed` events.

    It lies beyond `after` and at most at `upto`, and what is above it was received right after
    `received_upto` or earlier.
    """
    received = HIGHEST[1] if received_upto is None else received_upto + 1
    row = await db.fetchrow(
        SELECT_BELOW, room_nid, *_above(after), *_above(upto), received, list(passed)
    )
    if row is None:
        return None
    event_nid, depth, position, missing = row
    return HistoryGap(event_nid, depth, position, tuple(missing))


def _above(point: Point) -> Point:
    """The place of an event right before which a gap at this point would lie."""
    depth, position = point
    return depth, position if position == HIGHEST[1] else position + 1


SELECT_LATEST = """
    SELECT span.room_nid, gap.event_nid, gap.depth, gap.stream_position
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS span (room_nid, since, upto)
     CROSS JOIN LATERAL (
           SELECT event_nid, depth, stream_position
             FROM history_gaps
            WHERE history_gaps.room_nid = span.room_nid
              AND history_gaps.stream_position > span.since
              AND history_gaps.stream_position <= span.upto
            ORDER BY history_gaps.stream_position DESC
            LIMIT 1) AS gap
"""

SELECT_HIGHEST = """
    SELECT span.room_nid, gap.event_nid, gap.depth, gap.stream_position
      FROM unnest($1::integer[], $2::bigint[]) AS span (room_nid, upto)
     CROSS JOIN LATERAL (
           SELECT event_nid, depth, stream_position
             FROM history_gaps
            WHERE history_gaps.room_nid = span.room_nid
              AND history_gaps.stream_position <= span.upto
            ORDER BY history_gaps.depth DESC, history_gaps.stream_position DESC
            LIMIT 1) AS gap
"""


async def latest_gaps(db: Database, spans: Mapping[int, tuple[int, int]]) -> dict[int, HistoryGap]:
    """By room, the last gap to be made after one stream position and up to another."""
    if not spans:
        return {}
    since, upto = zip(*spans.values(), strict=True)
    rows = await db.fetch(SELECT_LATEST, list(spans), list(since), list(upto))
    return {row[0]: HistoryGap(*row[1:]) for row in rows}


async def highest_gaps(db: Database, room_upto: Mapping[int, int]) -> dict[int, HistoryGap]:
    """By room, the highest gap of its history up to a stream position."""
    if not room_upto:
        return {}
    rows = await db.fetch(SELECT_HIGHEST, list(room_upto), list(room_upto.values()))
    return {row[0]: HistoryGap(*row[1:]) for row in rows}


SELECT_HAS_GAPS = """
    SELECT EXISTS (SELECT FROM history_gaps WHERE room_nid = $1 AND stream_position IS NOT NULL)
"""


async def has_gaps(db: Database, room_nid: int) -> bool:
    """Whether a room's history breaks off anywhere."""
    return bool(await db.fetchval(SELECT_HAS_GAPS, room_nid))


INSERT_GAPS = """
    INSERT INTO history_gaps (event_nid, prev_event_id, room_nid, depth, stream_position)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[])
    ON CONFLICT DO NOTHING
"""

CLOSE_GAPS = """
      WITH closed AS (
           DELETE FROM history_gaps
            USING unnest($1::integer[], $2::text[], $3::bigint[])
               AS found (room_nid, event_id, event_nid)
            WHERE history_gaps.room_nid = found.room_nid
              AND history_gaps.prev_event_id = found.event_id
        RETURNING history_gaps.event_nid, found.event_nid AS prev_nid),
           links AS (
           SELECT event_nid, array_agg(prev_nid) AS prev_nids FROM closed GROUP BY event_nid)
    UPDATE events
       SET prev_nids = ARRAY(SELECT unnest(events.prev_nids) UNION SELECT unnest(links.prev_nids))
      FROM links
     WHERE events.event_nid = links.event_nid
"""


GapRow = tuple[int, str, int, int, int | None]
"""The event above, the missing one, room, depth and stream position of the one above."""


async def open_gaps(db: Database, rows: Sequence[GapRow]) -> None:
    """Note gaps before events."""
    if rows:
        await db.execute(INSERT_GAPS, *map(list, zip(*rows, strict=True)))


async def close_gaps(db: Database, found: Sequence[tuple[int, str, int]]) -> None:
    """Link events (room, event ID, number) with those that follow them."""
    if found:
        await db.execute(CLOSE_GAPS, *map(list, zip(*found, strict=True)))


@dataclass(frozen=True, slots=True)
class CloseGap(Write):
    """A missing event turns out to have its place here already."""

    order: ClassVar[int] = 25

    room_nid: int
    event_id: str
    event_nid: int

    @property
    def positions(self) -> int:
        """None."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["CloseGap", int]]) -> None:
        """Link the events."""
        await close_gaps(db, [(w.room_nid, w.event_id, w.event_nid) for w, _ in placed])
