"""The timelines of many rooms at once: what came after a position, the newest of it.

Source: client-server API, "Syncing".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.filters import RoomEventFilter
from homeserver.rooms.history_token import Gap, gap_before
from homeserver.rooms.history_visibility import OwnMembership, SeenEvent, see_events
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.names import Names

DEFAULT_LIMIT = 10
BEGINNING = -(2**63)
MOST_EXAMINED = 10_000
"""Events of a room that are looked through at most for those that a filter wants."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a room's stream, from after `since` up to and including `upto`."""

    room_nid: int
    since: int
    upto: int


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


SELECT_SPANS = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS span (room_nid, since, upto)
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = span.room_nid
              AND events.stream_position > span.since
              AND events.stream_position <= span.upto
            ORDER BY events.stream_position DESC
            LIMIT $4) AS e
"""  # noqa: S608 - constants of ours


async def read_timelines(
    db: Database,
    names: Names,
    viewer: Viewer,
    spans: Sequence[Span],
    memberships: Mapping[int, OwnMembership],
    wanted: RoomEventFilter,
    ignored: frozenset[str],
) -> dict[int, Timeline]:
    """The timelines of the spans, by room; at most the filter's limit of events in each."""
    limit = timeline_limit(wanted)
    done: dict[int, Timeline] = {}
    examined = limit + 1 if wanted.is_empty and not ignored else 8 * limit + 1
    left = list(spans)
    while left:
        newest_first = await read_spans(db, left, examined)
        everything = [event for events in newest_first.values() for event in events]
        seen = await see_events(db, names, viewer, everything, memberships)
        by_room: dict[int, list[SeenEvent]] = {}
        for item in seen:
            by_room.setdefault(item.event.room_nid, []).append(item)
        again = []
        for span in left:
            read = newest_first.get(span.room_nid, [])
            kept = select_wanted(by_room.get(span.room_nid, []), wanted, ignored)
            if len(kept) <= limit and len(read) >= examined and examined < MOST_EXAMINED:
                again.append(span)
            else:
                done[span.room_nid] = build_timeline(span, read, kept, limit, examined)
        left, examined = again, examined * 8
    return done


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
    limit: int,
    examined: int,
) -> Timeline:
    """The timeline of a span from what was read of it; both lists have the newest first."""
    shown = tuple(reversed(kept[:limit]))
    is_limited = len(kept) > limit or len(read) >= examined
    if shown:
        prev_batch = gap_before(shown[0].event)
    elif read:
        prev_batch = Gap(read[0].depth, read[0].position or 0)
    else:
        return Timeline(span.room_nid, (), is_limited, not is_limited, f"s{span.upto}_0")
    is_complete = not is_limited and len(shown) == len(read)
    return Timeline(span.room_nid, shown, is_limited, is_complete, str(prev_batch))


async def read_spans(
    db: Database, spans: Sequence[Span], limit: int
) -> dict[int, list[StoredEvent]]:
    """The newest `limit` events of each span, newest first, by room."""
    rows = await db.fetch(
        SELECT_SPANS,
        [span.room_nid for span in spans],
        [span.since for span in spans],
        [span.upto for span in spans],
        limit,
    )
    by_room: dict[int, list[StoredEvent]] = {}
    for row in rows:
        event = event_of_row(row)
        by_room.setdefault(event.room_nid, []).append(event)
    for events in by_room.values():
        events.sort(key=lambda event: -(event.position or 0))
    return by_room
