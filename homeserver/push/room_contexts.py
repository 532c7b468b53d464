"""Rooms as push rules see them: member counts and power levels, at hand for evaluation."""

from collections.abc import Iterable, Sequence

from federation.protocol.auth_events import CREATE, POWER_LEVELS
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import PowerLevels
from federation.protocol.push_conditions import EventView, RoomContext
from federation.protocol.room_versions import get_room_version
from storage.cache import Cache
from storage.changes import Change, EventAdded, StoredEvent
from storage.database import Database
from storage.names import Names

CONTEXT_COST = 3_000
VIEW_COST = 3_000
VIEWS_BYTES = 1_000_000

SELECT_MEMBER_COUNTS = """
    SELECT room_nid, count(*)
      FROM memberships
     WHERE room_nid = ANY($1::integer[]) AND membership = 1
     GROUP BY room_nid
"""

SELECT_LEVELS = """
    SELECT s.room_nid, s.place_nid, e.event_id, e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""


class RoomContexts:
    """The contexts of rooms, dropped when members or power levels change."""

    def __init__(self, db: Database, names: Names, max_bytes: int) -> None:
        self._db = db
        self._names = names
        self._contexts: Cache[int, RoomContext] = Cache(max_bytes)
        self._views: Cache[int, EventView] = Cache(VIEWS_BYTES)

    async def load(self, room_nids: Iterable[int]) -> dict[int, RoomContext]:
        """The contexts of those of the rooms that have a create event, read together."""
        found: dict[int, RoomContext] = {}
        missing = []
        for room_nid in room_nids:
            context = self._contexts.get(room_nid)
            if context is None:
                missing.append(room_nid)
            else:
                found[room_nid] = context
        if missing:
            found |= await self._read(missing)
        return found

    def view(self, event: StoredEvent, context: RoomContext) -> EventView:
        """The event as conditions see it, shared by all readers of a room."""
        view = self._views.get(event.event_nid)
        if view is None:
            view = EventView(event.fields, context)
            self._views.put(event.event_nid, view, VIEW_COST)
        return view

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Drop what no longer holds; a listener of the stream."""
        del own
        for change in changes:
            if isinstance(change, EventAdded) and change.event.state_key is not None:
                event = change.event
                if change.member_nid is not None or event.type in (CREATE[0], POWER_LEVELS[0]):
                    self._contexts.discard(event.room_nid)

    async def _read(self, room_nids: list[int]) -> dict[int, RoomContext]:
        rooms = await self._names.rooms.get_many(room_nids)
        counts = dict(await self._db.fetch(SELECT_MEMBER_COUNTS, room_nids))
        places = await self._names.places.get_nids((CREATE, POWER_LEVELS))
        rows = await self._db.fetch(SELECT_LEVELS, room_nids, list(places.values()))
        found: dict[tuple[int, int], Pdu] = {}
        for room_nid, place_nid, event_id, encoded in rows:
            room = rooms[room_nid]
            version = get_room_version(room.version_id)
            pdu = parse_stored_pdu(encoded, version, EventId(event_id), room.room_id)
            found[room_nid, place_nid] = pdu
        contexts = {}
        for room_nid in room_nids:
            create = found.get((room_nid, places[CREATE]))
            levels = found.get((room_nid, places[POWER_LEVELS]))
            if create is None:
                continue
            power = PowerLevels(levels.content if levels else None, create)
            context = RoomContext(rooms[room_nid].room_id, counts.get(room_nid, 0), power)
            self._contexts.put(room_nid, context, CONTEXT_COST)
            contexts[room_nid] = context
        return contexts
