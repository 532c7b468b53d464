"""The present state of rooms."""

from federation.protocol.pdu import StateKey
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row

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
