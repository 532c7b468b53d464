"""Behind gaps in a room's history: the state there, and who vouches, as another server tells it."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from federation.protocol.auth_events import CREATE
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from homeserver.rooms.arrivals import find_known
from homeserver.rooms.live import Known, LiveRoom
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.remote_events import EventSource, Fields, Signatures
from homeserver.rooms.resolver import StateMap
from homeserver.rooms.taking import Unreachable
from homeserver.rooms.verified import Verified, reached_from, verify_for_room
from storage.changes import Standing
from storage.database import Database
from storage.names import Names

log = logging.getLogger("hearth.intake")

MOST_STATE_EVENTS = 100_000
MOST_FETCHED_SINGLY = 50
"""Up to so many unknown events of a state are asked for one by one."""


class GapStates:
    """Fetches and checks what lies behind a gap."""

    def __init__(
        self,
        db: Database,
        names: Names,
        outliers: Outliers,
        signatures: Signatures,
        source: EventSource,
    ) -> None:
        self._db = db
        self._names = names
        self._outliers = outliers
        self._signatures = signatures
        self._source = source

    async def state_before(self, origin: str, room: LiveRoom, event_id: EventId) -> StateMap:
        """The state before an event as a server tells it, from events that hold.

        Raises `Unreachable`, `FederationError`.
        """
        places, _ = await self._told_state(origin, room, event_id, ())
        return await self._numbered(places)

    async def state_after(self, origin: str, room: LiveRoom, event_id: EventId) -> StateMap:
        """The state after an event that is not here, which is fetched along with it.

        Raises `Unreachable`, `FederationError`.
        """
        places, known = await self._told_state(origin, room, event_id, (event_id,))
        event = known.get(event_id)
        if event is None:
            raise Unreachable(f"{event_id}, which is followed, cannot be had")
        if event.pdu.is_state and event.standing != Standing.REJECTED:
            places[event.pdu.state_place] = event.event_nid
        return await self._numbered(places)

    async def _told_state(
        self, origin: str, room: LiveRoom, event_id: EventId, others: Sequence[EventId]
    ) -> tuple[dict[StateKey, int], dict[EventId, Known]]:
        """The state before an event; all events that it took to know it, and some others."""
        state_ids, chain_ids = await self._source.state_ids(origin, room.room_id, event_id)
        if len(state_ids) + len(chain_ids) > MOST_STATE_EVENTS:
            raise Unreachable("the state behind the gap is too large")
        wanted = {EventId(i) for i in (*state_ids, *chain_ids, *others) if "\0" not in i}
        known = await find_known(self._db, room, wanted)
        missing = wanted - known.keys()
        if missing:
            known |= await self._fetch_outliers(origin, room, event_id, missing)
        places = {}
        for state_id in state_ids:
            found = known.get(EventId(state_id))
            if found is not None and found.standing != Standing.REJECTED and found.pdu.is_state:
                places[found.pdu.state_place] = found.event_nid
        create = room.state.get(CREATE)
        if create is None or places.get(CREATE) != create.event_nid:
            raise Unreachable("the state behind the gap, as it was told, is not of this room")
        return places, known

    async def _numbered(self, places: Mapping[StateKey, int]) -> StateMap:
        numbers = await self._names.places.get_nids(places)
        return {numbers[place]: event_nid for place, event_nid in places.items()}

    async def _fetch_outliers(
        self, origin: str, room: LiveRoom, event_id: EventId, missing: set[EventId]
    ) -> dict[EventId, Known]:
        if len(missing) <= MOST_FETCHED_SINGLY:
            events = await self._fetch_singly(origin, missing)
        else:
            state, chain = await self._source.state(origin, room.room_id, event_id)
            events = [*state, *chain, *await self._fetch_singly(origin, missing & {event_id})]
        verified = await self._verify(events, room)
        return await self._outliers.keep(
            room, {i: pdu for i, pdu in verified.pdus.items() if i in missing}
        )

    async def _fetch_singly(self, origin: str, event_ids: Iterable[EventId]) -> list[Fields]:
        async def fetch(event_id: EventId) -> Fields | None:
            try:
                return await self._source.event(origin, event_id)
            except MatrixError:
                return None

        found = await asyncio.gather(*(fetch(event_id) for event_id in sorted(event_ids)))
        return [fields for fields in found if fields is not None]

    async def have_auth_events(
        self, origin: str, room: LiveRoom, new: Mapping[EventId, Pdu]
    ) -> None:
        """Fetch the auth events that are unknown; an event that lacks some cannot be judged."""
        cited = {i for pdu in new.values() for i in pdu.auth_events if i not in new}
        missing = cited - (await find_known(self._db, room, cited)).keys()
        for event_id, pdu in new.items():
            if not missing & set(pdu.auth_events):
                continue
            try:
                chain = await self._source.event_auth(origin, room.room_id, event_id)
            except MatrixError as error:
                log.info("%s does not tell what vouches for %s: %s", origin, event_id, error)
                continue
            if len(chain) > MOST_STATE_EVENTS:
                log.info("%s tells too much that vouches for %s", origin, event_id)
                continue
            verified = await self._verify(chain, room)
            vouching = reached_from(pdu.auth_events, verified.pdus, lambda one: one.auth_events)
            missing -= (await self._outliers.keep(room, vouching)).keys()

    async def _verify(self, events: Sequence[Fields], room: LiveRoom) -> Verified:
        return await verify_for_room(self._db, self._signatures, room, events)
