"""The state that goes with a timeline: as it was at the timeline's start, or as it is at its end.

Either is told from the state at the end. Where the event at a place is itself shown in the
timeline, the start had the one that it replaced, and so on back. What the client has already is
left out: in an incremental sync only places count that changed since its token, which the layers
of the two snapshots tell without reading whole states.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.filters import RoomEventFilter
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row, get_events


@dataclass(frozen=True, slots=True)
class StateWanted:
    """What of a room's state is wanted.

    `shown` are the events in the room's timeline. `member_places` are the only members wanted
    when members are loaded lazily; None wants all.
    """

    room_nid: int
    shown: frozenset[int]
    member_places: frozenset[int] | None


SELECT_CURRENT = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[])
"""  # noqa: S608 - constants of ours

SELECT_CURRENT_WITHOUT_MEMBERS = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND NOT s.is_member
"""  # noqa: S608

SELECT_CURRENT_MEMBERS = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::integer[]) AS wanted (room_nid, place_nid)
      JOIN current_state AS s USING (room_nid, place_nid)
      JOIN events AS e USING (event_nid)
"""  # noqa: S608


async def read_current_states(
    db: Database, wanted: Sequence[StateWanted]
) -> dict[int, list[StoredEvent]]:
    """The current state of each room, as far as it is wanted."""
    whole = [item.room_nid for item in wanted if item.member_places is None]
    lazy = [item for item in wanted if item.member_places is not None]
    rows = await db.fetch(SELECT_CURRENT, whole) if whole else []
    if lazy:
        rows += await db.fetch(SELECT_CURRENT_WITHOUT_MEMBERS, [i.room_nid for i in lazy])
    states: dict[int, list[StoredEvent]] = {item.room_nid: [] for item in wanted}
    for event in [event_of_row(row) for row in rows] + await read_members(db, lazy):
        states[event.room_nid].append(event)
    return states


async def read_members(db: Database, wanted: Sequence[StateWanted]) -> list[StoredEvent]:
    """The current events at the rooms' `member_places`."""
    pairs = [(item.room_nid, place) for item in wanted for place in item.member_places or ()]
    if not pairs:
        return []
    rows = await db.fetch(SELECT_CURRENT_MEMBERS, *map(list, zip(*pairs, strict=True)))
    return [event_of_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class TimelineShown:
    """What the client gets or has of a room.

    A state event that it is shown (`shown`, by number), or that is newer than the response
    (`upto`), is rolled back; what stood there before need not be told if it arrived at most at
    `known_upto`.
    """

    shown: Mapping[int, StoredEvent]
    upto: int
    known_upto: int

    def is_later(self, event: StoredEvent) -> bool:
        """Whether the state wanted is one from before the event."""
        return event.event_nid in self.shown or (event.position or 0) > self.upto

    def is_known(self, event: StoredEvent) -> bool:
        """Whether the client has an event that stood at a place before what it is shown."""
        return event.position is not None and event.position <= self.known_upto

    def find_replaced(self, event: StoredEvent) -> int | None:
        """What stood at the event's place before it and before all that is shown."""
        nid = event.replaces_nid
        while nid is not None and nid in self.shown:
            nid = self.shown[nid].replaces_nid
        return nid


async def roll_back(
    db: Database,
    states: Mapping[int, Sequence[StoredEvent]],
    timelines: Mapping[int, TimelineShown],
) -> dict[int, list[StoredEvent]]:
    """The states before the timelines, from what is to be told of those after them.

    What takes the place of an event that is rolled back is left out if the client knows it.
    """
    result: dict[int, list[StoredEvent]] = {room_nid: [] for room_nid in states}
    events = [event for state in states.values() for event in state]
    while events:
        replaced = []
        for event in events:
            timeline = timelines[event.room_nid]
            if timeline.is_later(event):
                nid = timeline.find_replaced(event)
                if nid is not None:
                    replaced.append(nid)
            else:
                result[event.room_nid].append(event)
        former = (await get_events(db, replaced)).values()
        events = [event for event in former if not timelines[event.room_nid].is_known(event)]
    return result


def select_state(events: Iterable[StoredEvent], wanted: RoomEventFilter) -> list[StoredEvent]:
    """Those of the state events that the filter wants, in the order of their arrival."""
    chosen = [
        event
        for event in events
        if wanted.is_empty or wanted.allows_event(event.type, event.sender, "", event.content)
    ]
    return sorted(chosen, key=lambda event: event.event_nid)


SELECT_SNAPSHOTS_AT = """
    SELECT r.room_nid, coalesce(merged.snapshot_nid, e.snapshot_nid)
      FROM unnest($1::integer[], $2::bigint[]) AS r (room_nid, position)
     CROSS JOIN LATERAL (
           SELECT snapshot_nid, stream_position
             FROM events
            WHERE events.room_nid = r.room_nid
              AND events.stream_position <= r.position
            ORDER BY events.stream_position DESC
            LIMIT 1) AS e
      LEFT JOIN merged_states AS merged USING (stream_position)
"""


async def snapshots_at(db: Database, positions: Mapping[int, int]) -> dict[int, int | None]:
    """The state of each room as it stood at a stream position: room -> snapshot."""
    rows = await db.fetch(SELECT_SNAPSHOTS_AT, list(positions), list(positions.values()))
    return dict(rows)
