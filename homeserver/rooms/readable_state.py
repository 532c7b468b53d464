"""The state of a room as a user may read it: the present one, or that of when they left.

Source: client-server API, `GET /rooms/{roomId}/state`.
"""

from federation.protocol.auth_events import member_place
from federation.protocol.errors import Forbidden, NotFound
from federation.protocol.pdu import StateKey
from homeserver.rooms.readable_rooms import NOT_A_MEMBER, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.current_state import current_state_events, find_current_event
from storage.database import Database
from storage.events import get_events
from storage.memberships import find_departure
from storage.names import Names
from storage.room_state import get_places_at, get_state


class ReadableState:
    """Reads the state of rooms for users."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def whole(self, viewer: Viewer, room_id: str) -> list[StoredEvent]:
        """All state events, the oldest first. Raises `Forbidden`."""
        room_nid, departure = await self._find(viewer, room_id)
        if departure is None:
            return await current_state_events(self._db, room_nid)
        state = await get_state(self._db, departure)
        events = await get_events(self._db, state.values())
        return [events[nid] for nid in sorted(events)]

    async def get(self, viewer: Viewer, room_id: str, place: StateKey) -> StoredEvent:
        """The event at one place. Raises `Forbidden`, `NotFound`."""
        room_nid, departure = await self._find(viewer, room_id)
        if departure is None:
            event = await find_current_event(self._db, room_nid, place)
        else:
            event = await self._find_at(departure, place)
        if event is None:
            raise NotFound("The room has no such state")
        return event

    async def _find(self, viewer: Viewer, room_id: str) -> tuple[int, int | None]:
        """The room's number and, for somebody who has left, the state that they left."""
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        room_nid = readable.room.room_nid
        if readable.is_joined or readable.until is None:
            return room_nid, None
        place_nid = await self._names.places.get_nid(member_place(viewer.user_id))
        departure = await find_departure(self._db, room_nid, place_nid)
        if departure is None:
            raise Forbidden(NOT_A_MEMBER)
        return room_nid, departure

    async def _find_at(self, snapshot_nid: int, place: StateKey) -> StoredEvent | None:
        place_nids = await self._names.places.find_nids((place,))
        states = await get_places_at(self._db, (snapshot_nid,), place_nids.values())
        events = await get_events(self._db, states[snapshot_nid].values())
        return next(iter(events.values()), None)
