"""The timelines of many rooms at once: what came after a position, the newest of it.

What a client has not been told of a room that it knows is shown as it arrived here, so that what
comes late, from a fork, is not missed. A room that is new to the client is shown from the end of
its history, in the order of that. Neither steps over a gap in the history: the timeline begins
above it, and paging back from there fetches what is missing.
Source: client-server API, "Syncing".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from federation.protocol.filters import RoomEventFilter
from homeserver.rooms.history_token import Gap, Received, gap_before, received_before
from homeserver.rooms.history_visibility import OwnMembership, SeenEvent, see_events
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.history_gaps import HistoryGap, highest_gaps, latest_gaps
from storage.names import Names
from storage.timeline import LOWEST, Point, place_in_history

DEFAULT_LIMIT = 10
BEGINNING = -(2**63)
MOST_EXAMINED = 10_000
"""Events of a room that are looked through at most for those that a filter wants."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a room's stream, from after `since` up to and including `upto`.

    At most `limit` of its events are shown. `gap` is the last gap in it; what is below is left out.
    """

    room_nid: int
    since: int
    upto: int
    limit: int
    gap: HistoryGap | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the room is shown from the end of its history."""
        return self.since == BEGINNING

    def examined(self, factor: int) -> int:
        """How many events are looked at, to find out whether there are more than are shown."""
        return (self.limit + 1) * factor

    @property
    def received_after(self) -> int:
        """The stream position after which events are shown."""
        return self.since if self.gap is None else self.gap.position - 1

    @property
    def after(self) -> Point:
        """The place in the room's history after which events are shown."""
        return LOWEST if self.gap is None else self.gap.point


@dataclass(frozen=True, slots=True)
class Timeline:
    """A room's newest events in a span that a viewer wants and may see, oldest first.

    `is_limited` tells that older ones of the span were left out, `is_complete` that the events
    are all that happened in the span. `prev_batch` is where the older ones begin.
    """

    room_nid: int
    events: tuple[SeenEvent, ...]
    is_limited: bool
    is_complete: bool
    prev_batch: str


SELECT_RECEIVED = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[])
        AS span (room_nid, since, upto, examined)
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = span.room_nid
              AND events.stream_position > span.since
              AND events.stream_position <= span.upto
            ORDER BY events.stream_position DESC
            LIMIT span.examined) AS e
"""  # noqa: S608 - constants of ours

SELECT_ENDS = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[])
        AS span (room_nid, depth, position, upto, examined)
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = span.room_nid
              AND (events.depth, events.stream_position) > (span.depth, span.position)
              AND events.stream_position <= span.upto
            ORDER BY events.depth DESC, events.stream_position DESC
            LIMIT span.examined) AS e
"""  # noqa: S608


async def read_timelines(
    db: Database,
    names: Names,
    viewer: Viewer,
    spans: Sequence[Span],
    memberships: Mapping[int, OwnMembership],
    wanted: RoomEventFilter,
    ignored: frozenset[str],
) -> dict[int, Timeline]:
    """The timelines of the spans, by room."""
    done: dict[int, Timeline] = {}
    factor = 1 if wanted.is_empty and not ignored else 8
    left = await cut_at_gaps(db, spans)
    while left:
        newest_first = await read_spans(db, left, factor)
        everything = [event for events in newest_first.values() for event in events]
        seen = await see_events(db, names, viewer, everything, memberships)
        by_room: dict[int, list[SeenEvent]] = {}
        for item in seen:
            by_room.setdefault(item.event.room_nid, []).append(item)
        again = []
        for span in left:
            read = newest_first.get(span.room_nid, [])
            kept = select_wanted(by_room.get(span.room_nid, []), wanted, ignored)
            examined = span.examined(factor)
            if len(kept) <= span.limit and len(read) >= examined and examined < MOST_EXAMINED:
                again.append(span)
            else:
                done[span.room_nid] = build_timeline(span, read, kept, examined)
        left, factor = again, factor * 8
    return done


async def cut_at_gaps(db: Database, spans: Sequence[Span]) -> list[Span]:
    """The spans, each with the last gap that it has."""
    gaps = await highest_gaps(db, {span.room_nid: span.upto for span in spans if span.is_whole})
    gaps |= await latest_gaps(
        db, {span.room_nid: (span.since, span.upto) for span in spans if not span.is_whole}
    )
    return [replace(span, gap=gaps.get(span.room_nid)) for span in spans]


def timeline_limit(wanted: RoomEventFilter) -> int:
    """How many events a timeline has at most."""
    return DEFAULT_LIMIT if wanted.limit is None else wanted.limit


def select_wanted(
    events: Iterable[SeenEvent], wanted: RoomEventFilter, ignored: frozenset[str]
) -> list[SeenEvent]:
    """Those of the events that the filter wants; messages of ignored users are never wanted."""
    if wanted.is_empty and not ignored:
        return list(events)
    kept = []
    for item in events:
        event = item.event
        if event.sender in ignored and event.state_key is None:
            continue
        if wanted.allows_event(event.type, event.sender, "", event.content):
            kept.append(item)
    return kept


def build_timeline(
    span: Span,
    read: Sequence[StoredEvent],
    kept: Sequence[SeenEvent],
    examined: int,
) -> Timeline:
    """The timeline of a span from what was read of it; both lists have the newest first."""
    shown = tuple(reversed(kept[: span.limit]))
    is_limited = len(kept) > span.limit or len(read) >= examined or span.gap is not None
    is_complete = not is_limited and len(shown) == len(read)
    prev_batch = find_prev_batch(span, shown[0].event if shown else None, read)
    return Timeline(span.room_nid, shown, is_limited, is_complete, str(prev_batch))


def find_prev_batch(
    span: Span, first: StoredEvent | None, read: Sequence[StoredEvent]
) -> Gap | Received:
    """Where what is before a timeline's first event begins, or before nothing that was read."""
    if not span.is_whole:
        return Received(span.upto) if first is None else received_before(first)
    if first is not None:
        return gap_before(first, span.upto)
    return Gap(*place_in_history(read[0]), span.upto) if read else Received(max(span.upto, 0))


async def read_spans(
    db: Database, spans: Sequence[Span], factor: int
) -> dict[int, list[StoredEvent]]:
    """The newest events of each span, newest first, by room: `factor` times what it may show."""
    whole = [span for span in spans if span.is_whole]
    rest = [span for span in spans if not span.is_whole]
    by_room: dict[int, list[StoredEvent]] = {}
    if whole:
        rows = await db.fetch(
            SELECT_ENDS,
            [span.room_nid for span in whole],
            [span.after[0] for span in whole],
            [span.after[1] for span in whole],
            [span.upto for span in whole],
            [span.examined(factor) for span in whole],
        )
        for event in map(event_of_row, rows):
            by_room.setdefault(event.room_nid, []).append(event)
        for events in by_room.values():
            events.sort(key=place_in_history, reverse=True)
    if rest:
        rows = await db.fetch(
            SELECT_RECEIVED,
            [span.room_nid for span in rest],
            [span.received_after for span in rest],
            [span.upto for span in rest],
            [span.examined(factor) for span in rest],
        )
        late: dict[int, list[StoredEvent]] = {}
        for event in map(event_of_row, rows):
            late.setdefault(event.room_nid, []).append(event)
        for events in late.values():
            events.sort(key=lambda event: -(event.position or 0))
        by_room |= late
    return by_room
