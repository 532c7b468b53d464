"""The present state of rooms."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.pdu import StateKey
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.room_state import REMOVED

SELECT_STATE = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE s.room_nid = $1
     ORDER BY e.event_nid
"""  # noqa: S608

SELECT_PLACE = f"""
    SELECT {COLUMNS}
      FROM event_types AS t
      JOIN state_places AS p ON p.type_nid = t.type_nid
      JOIN current_state AS s ON s.room_nid = $1 AND s.place_nid = p.place_nid
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE t.type = $2 AND p.state_key = $3
"""  # noqa: S608


async def current_state_events(db: Database, room_nid: int) -> list[StoredEvent]:
    """All events of the room's present state, members too, the oldest first."""
    return [event_of_row(row) for row in await db.fetch(SELECT_STATE, room_nid)]


async def find_current_event(db: Database, room_nid: int, place: StateKey) -> StoredEvent | None:
    """The event at a place of the room's present state, or None."""
    row = await db.fetchrow(SELECT_PLACE, room_nid, *place)
    return None if row is None else event_of_row(row)


@dataclass(frozen=True, slots=True)
class StateChange:
    """The current state has another event at a place, or none (`REMOVED`)."""

    place_nid: int
    event_nid: int
    is_member: bool


UPSERT_STATE = """
    INSERT INTO current_state (room_nid, place_nid, event_nid, is_member)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::boolean[])
    ON CONFLICT (room_nid, place_nid) DO UPDATE SET event_nid = excluded.event_nid
"""

DELETE_STATE = """
    DELETE FROM current_state
     USING unnest($1::integer[], $2::integer[]) AS gone (room_nid, place_nid)
     WHERE current_state.room_nid = gone.room_nid
       AND current_state.place_nid = gone.place_nid
"""


async def change_current_state(db: Database, changes: Iterable[tuple[int, StateChange]]) -> None:
    """Change the state of rooms, by their numbers; of the same place the last change counts."""
    latest = {(room_nid, change.place_nid): change for room_nid, change in changes}
    kept = [
        (*key, change.event_nid, change.is_member)
        for key, change in latest.items()
        if change.event_nid != REMOVED
    ]
    gone = [key for key, change in latest.items() if change.event_nid == REMOVED]
    if kept:
        await db.execute(UPSERT_STATE, *map(list, zip(*kept, strict=True)))
    if gone:
        await db.execute(DELETE_STATE, *map(list, zip(*gone, strict=True)))
