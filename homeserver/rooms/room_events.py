"""Events of a room that the rules ask for, each read once."""

from collections.abc import Iterable

from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId
from homeserver.rooms.live import Known, LiveRoom
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import find_events, get_events


class RoomEvents:
    """Reads events of one room for one piece of work; also those that are about to be stored."""

    def __init__(self, db: Database, room: LiveRoom) -> None:
        self._db = db
        self._room = room
        self._by_nid: dict[int, Known] = {}
        self._by_id: dict[EventId, Known] = {}

    def add(self, known: Known) -> None:
        """Make an event known as it is now, stored or not."""
        self._by_nid[known.event_nid] = known
        self._by_id[known.pdu.event_id] = known

    async def by_nid(self, event_nids: Iterable[int]) -> dict[int, Known]:
        """The events of these numbers, as far as there are any."""
        wanted = set(event_nids)
        ahead = self._room.ahead.by_nid
        missing = []
        for nid in wanted:
            if nid not in self._by_nid:
                known = ahead.get(nid)
                if known is None:
                    missing.append(nid)
                else:
                    self.add(known)
        if missing:
            self._remember((await get_events(self._db, missing)).values())
        return {nid: self._by_nid[nid] for nid in wanted if nid in self._by_nid}

    async def by_id(self, event_ids: Iterable[EventId]) -> dict[EventId, Known]:
        """Those of the events that are known here."""
        wanted = set(event_ids)
        ahead = self._room.ahead.by_id
        missing = []
        for event_id in wanted:
            if event_id not in self._by_id:
                known = ahead.get(event_id)
                if known is None:
                    missing.append(event_id)
                else:
                    self.add(known)
        if missing:
            self._remember((await find_events(self._db, missing)).values())
        return {event_id: self._by_id[event_id] for event_id in wanted if event_id in self._by_id}

    def _remember(self, events: Iterable[StoredEvent]) -> None:
        for event in events:
            if event.room_nid == self._room.room_nid:
                self.add(known_of(self._room, event))


def known_of(room: LiveRoom, event: StoredEvent) -> Known:
    """A stored event as others refer to it."""
    event_id = EventId(event.event_id)
    pdu = parse_stored_pdu(event.json, room.version, event_id, room.room_id)
    return Known(event.event_nid, event.standing, event.snapshot_nid, pdu)
