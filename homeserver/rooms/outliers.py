"""Events that are known but have no place in a room's history: auth chains and states of gaps.

They come from servers that may lie, so each is checked like any event, but for its state: its
signatures, its hash and, against its own auth events, the authorisation rules.
"""

from collections.abc import Mapping, Sequence

from federation.protocol.auth_events import CREATE
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.rooms.arrivals import find_known
from homeserver.rooms.live import Known, LiveRoom
from homeserver.rooms.taking import find_fault
from homeserver.rooms.verified import in_order
from storage.add_events import AddEvent, EventSeen
from storage.changes import Standing, StoredEvent
from storage.committer import Committer, Write
from storage.database import Database
from storage.names import Names
from storage.nids import Nids


class Outliers:
    """Keeps outliers."""

    def __init__(self, db: Database, names: Names, nids: Nids, committer: Committer) -> None:
        self._db = db
        self._names = names
        self._nids = nids
        self._committer = committer

    async def keep(self, room: LiveRoom, pdus: Mapping[EventId, Pdu]) -> dict[EventId, Known]:
        """Store those of the events that are not stored yet; all of them as they are known.

        An event that its auth events do not allow, or one of whose auth events was rejected, is
        stored as rejected. One whose auth events are not all known is left out: whoever told of
        it may have held them back.
        """
        wanted = {i for pdu in pdus.values() for i in (pdu.event_id, *pdu.auth_events)}
        known = await find_known(self._db, room, wanted)
        entry = room.state.get(CREATE)
        create = entry.pdu if entry is not None else None
        writes: list[Write] = []
        new = {i: pdu for i, pdu in pdus.items() if i not in known}
        for pdu in in_order(new):
            standing = judge(pdu, known, create)
            if standing is None:
                continue
            (event_nid,) = await self._nids.events.take()
            known[pdu.event_id] = Known(event_nid, standing, None, pdu)
            writes.append(await self._row(room, known[pdu.event_id], known))
        if writes:
            try:
                await self._committer.commit(*writes)
            except EventSeen:
                return await self.keep(room, pdus)
        return known

    async def _row(self, room: LiveRoom, new: Known, known: Mapping[EventId, Known]) -> AddEvent:
        pdu = new.pdu
        place_nid = await self._names.places.get_nid(pdu.state_place) if pdu.is_state else None
        stored = StoredEvent(
            new.event_nid,
            None,
            pdu.depth,
            room.room_nid,
            await self._names.users.get_nid(pdu.sender),
            place_nid,
            None,
            None,
            None,
            new.standing,
            pdu.event_id,
            pdu.encoded,
            decode_event(pdu.encoded, room.version),
        )
        return AddEvent(
            stored,
            await self._names.types.get_nid(pdu.type),
            pdu.origin_server_ts,
            (),
            tuple(known[i].event_nid for i in pdu.auth_events if i in known),
        )


def judge(pdu: Pdu, known: Mapping[EventId, Known], create: Pdu | None) -> Standing | None:
    """Whether an outlier is to be used, going by its auth events; None if they are not all known.

    `create` is the create event of the room; there is no other one.
    """
    if any(i not in known for i in pdu.auth_events):
        return None
    cited: Sequence[Known] = [known[i] for i in pdu.auth_events]
    if any(one.standing == Standing.REJECTED for one in cited):
        return Standing.REJECTED
    if pdu.type == CREATE[0] and create is not None and pdu.event_id != create.event_id:
        return Standing.REJECTED
    fault = find_fault(pdu, [one.pdu for one in cited], create)
    return Standing.OUTLIER if fault is None else Standing.REJECTED
