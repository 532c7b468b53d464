"""History that this server missed, fetched from other servers when somebody pages back to it.

Fetched events are checked like all others. Each gets the state that was before it: at the oldest
ones as a server tells it, from there on by the events themselves. They take places before all
that the stream has, with negative positions, and move nothing in the room.
Source: server-server API, "Backfilling and retrieving missing events".
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.auth_events import CREATE
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed, MatrixError
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.rooms.append import find_relation
from homeserver.rooms.arrivals import find_known
from homeserver.rooms.gap_states import GapStates
from homeserver.rooms.history_token import Gap
from homeserver.rooms.live import Known, LiveRoom
from homeserver.rooms.outliers import judge
from homeserver.rooms.remote_events import EventSource, Fields, Signatures
from homeserver.rooms.resolver import Resolver, StateMap
from homeserver.rooms.room_events import known_of
from homeserver.rooms.taking import Door, places_of
from homeserver.rooms.verified import (
    Verified,
    in_order,
    reached_from,
    tell_of_refusals,
    verify_for_room,
)
from storage.add_events import AddEvent, DropOutlier, EventSeen
from storage.changes import Standing, StoredEvent
from storage.committer import Committer, Write
from storage.events import get_events
from storage.nids import NidSequence
from storage.room_state import Snapshot, derive_snapshot, layers_to_merge
from storage.rooms import servers_in_room

log = logging.getLogger("hearth.backfill")

CHUNK = 100
MOST_SERVERS_ASKED = 3
MOST_STATES_ASKED = 5
"""Events of a chunk before which the state is asked for."""
TIMEOUT_S = 60.0
"""How long each server may take for all that it is asked."""

SELECT_EDGE = """
    SELECT event_id, json
      FROM events
     WHERE room_nid = $1
       AND stream_position IS NOT NULL
       AND ($2::bigint IS NULL OR (depth, stream_position) > ($2, $3))
     ORDER BY depth, stream_position
     LIMIT 20
"""


class Misplaced(MatrixError):
    """An event has no place in a room's history."""


class Backfill:
    """Fetches older history; `OlderHistory` of the rooms' readers."""

    def __init__(
        self,
        door: Door,
        committer: Committer,
        signatures: Signatures,
        source: EventSource,
        states: GapStates,
        server_name: str,
    ) -> None:
        self._door = door
        self._db = door.db
        self._names = door.names
        self._positions = NidSequence(door.db, "backfill_positions")
        self._live = door.live
        self._committer = committer
        self._signatures = signatures
        self._source = source
        self._states = states
        self._server_name = server_name

    async def fetch_before(self, room_nid: int, gap: Gap | None) -> bool:
        """Fetch events before a gap (None: before anything); whether there now are more."""
        name = await self._names.rooms.get(room_nid)
        room = await self._live.get(name.room_id)
        edge = await self._edge(room, gap)
        if not edge:
            return False
        gaps = {i for ids in edge.values() for i in ids}
        servers = await servers_in_room(self._db, room_nid, MOST_SERVERS_ASKED + 1)
        for server in [s for s in servers if s != self._server_name][:MOST_SERVERS_ASKED]:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    events = await self._source.backfill(server, room.room_id, list(edge), CHUNK)
                    verified = await self._verify(events, room)
                    linked = reached_from(gaps, verified.pdus, lambda pdu: pdu.prev_events)
                    if await self._keep(server, room, linked):
                        return True
            except MatrixError as error:
                log.info("%s has no history of %s for us: %s", server, room.room_id, error)
            except TimeoutError:
                log.info("%s tells no history of %s in time", server, room.room_id)
        return False

    async def _verify(self, events: Sequence[Fields], room: LiveRoom) -> Verified:
        return await verify_for_room(self._db, self._signatures, room, events)

    async def _edge(self, room: LiveRoom, gap: Gap | None) -> dict[EventId, set[EventId]]:
        """The next events after a gap that follow something unknown, and what that is."""
        depth, position = (gap.depth, gap.position) if gap is not None else (None, None)
        rows = await self._db.fetch(SELECT_EDGE, room.room_nid, depth, position)
        prev = {
            event_id: pdu_prev(decode_event(encoded, room.version)) for event_id, encoded in rows
        }
        wanted = {EventId(i) for ids in prev.values() for i in ids}
        known = await find_known(self._db, room, wanted)
        placed = {i for i, one in known.items() if one.snapshot_nid is not None}
        unknown = {EventId(i): {EventId(p) for p in ids} - placed for i, ids in prev.items()}
        return {i: ids for i, ids in unknown.items() if ids}

    async def _keep(self, server: str, room: LiveRoom, pdus: Mapping[EventId, Pdu]) -> bool:
        """Store those of the events that have no place here; whether there were any."""
        everything = {
            i for p in pdus.values() for i in (p.event_id, *p.prev_events, *p.auth_events)
        }
        known = await find_known(self._db, room, everything)
        new = {i: pdu for i, pdu in pdus.items() if i not in known or known[i].snapshot_nid is None}
        ordered = in_order(new)
        await self._states.have_auth_events(server, room, new)
        known |= await find_known(self._db, room, everything)
        placing = Placing(self._door, room, known)
        positions = sorted(await self._positions.take(len(ordered)))
        misplaced: dict[EventId, str] = {}
        asked = 0
        for pdu, position in zip(ordered, positions, strict=True):
            try:
                before = await placing.state_before(pdu)
                if before is None:
                    asked += 1
                    if asked > MOST_STATES_ASKED:
                        raise Misplaced("it follows too many unknown events")
                    told = await self._states.state_before(server, room, pdu.event_id)
                    before = await placing.first_state(told)
                await placing.place(pdu, position, before)
            except MatrixError as error:
                misplaced[pdu.event_id] = error.message
        tell_of_refusals(log, server, room.room_id, dict.fromkeys(new) | misplaced)
        if not placing.writes:
            return False
        with contextlib.suppress(EventSeen):
            await self._committer.commit(*placing.writes)
        return True


@dataclass(frozen=True, slots=True)
class Before:
    """The state before an event, and the snapshot that has it."""

    state: StateMap
    snapshot: Snapshot


class Placing:
    """Gives fetched events their places; each rests on those placed before it."""

    def __init__(self, door: Door, room: LiveRoom, known: dict[EventId, Known]) -> None:
        self._door = door
        self._names = door.names
        self._nids = door.nids
        self._room = room
        self._known = known
        self._pdus: dict[int, Pdu] = {one.event_nid: one.pdu for one in known.values()}
        self._after: dict[EventId, Before] = {}
        self._entries: dict[int, Mapping[int, int]] = {}
        self.writes: list[Write] = []

    async def first_state(self, state: StateMap) -> Before:
        """A state that no event placed so far has left."""
        return Before(state, await self._snapshot(None, state))

    async def state_before(self, pdu: Pdu) -> Before | None:
        """The state before an event, if all that it follows was placed."""
        if pdu.type == "m.room.create":
            return await self.first_state({})
        found = [self._after[i] for i in pdu.prev_events if i in self._after]
        if not found or len(found) != len(pdu.prev_events):
            return None
        if len({one.snapshot.snapshot_nid for one in found}) == 1:
            return found[0]
        door = self._door
        resolver = Resolver(door.db, door.names, door.layers, door.edges, self._room)
        for event_id in self._after:
            one = self._known[event_id]
            resolver.add(one, self._numbers(one.pdu.auth_events))
        return await self.first_state(await resolver.resolve([one.state for one in found]))

    async def place(self, pdu: Pdu, position: int, before: Before) -> None:
        """Put an event at a position; one that its auth events do not allow is kept as rejected.

        Raises `Misplaced` for one that cannot be judged.
        """
        entry = self._room.state.get(CREATE)
        standing = judge(pdu, self._known, entry.pdu if entry is not None else None)
        if standing is None:
            raise Misplaced("what vouches for the event is not known here")
        is_rejected = standing is Standing.REJECTED
        if not is_rejected:
            await self._check_by_state(pdu, before.state)
        stored = self._known.get(pdu.event_id)
        if stored is not None:
            self.writes.append(DropOutlier(stored.event_nid))
        event_nid = stored.event_nid if stored else (await self._nids.events.take())[0]
        place_nid = await self._names.places.get_nid(pdu.state_place) if pdu.is_state else None
        after = before
        if place_nid is not None and not is_rejected:
            change = {place_nid: event_nid}
            snapshot = await self._snapshot(before.snapshot, change)
            after = Before({**before.state, **change}, snapshot)
        event = StoredEvent(
            event_nid,
            None if is_rejected else position,
            pdu.depth,
            self._room.room_nid,
            await self._names.users.get_nid(pdu.sender),
            place_nid,
            after.snapshot.snapshot_nid,
            before.state.get(place_nid) if place_nid is not None else None,
            None,
            Standing.REJECTED if is_rejected else Standing.ACCEPTED,
            pdu.event_id,
            pdu.encoded,
            decode_event(pdu.encoded, self._room.version),
        )
        self.writes.append(
            AddEvent(
                event,
                await self._names.types.get_nid(pdu.type),
                pdu.origin_server_ts,
                tuple(self._numbers(pdu.prev_events)),
                tuple(self._numbers(pdu.auth_events)),
                relation=None if is_rejected else find_relation(pdu.content),
            )
        )
        nid = after.snapshot.snapshot_nid
        self._known[pdu.event_id] = Known(event_nid, event.standing, nid, pdu)
        self._pdus[event_nid] = pdu
        self._after[pdu.event_id] = after

    async def _check_by_state(self, pdu: Pdu, state: StateMap) -> None:
        """Raise `Misplaced` if the state before the event, as far as it is known, forbids it."""
        places = await self._names.places.find_nids((CREATE, *places_of(pdu)))
        nids = {place: state[nid] for place, nid in places.items() if nid in state}
        unread = [nid for nid in nids.values() if nid not in self._pdus]
        for nid, event in (await get_events(self._door.db, unread)).items():
            self._pdus[nid] = known_of(self._room, event).pdu
        try:
            check_auth(pdu, AuthState({place: self._pdus[nid] for place, nid in nids.items()}))
        except AuthRuleFailed as error:
            raise Misplaced(f"the state before it forbids it: {error}") from error

    def _numbers(self, event_ids: Sequence[EventId]) -> list[int]:
        return [self._known[i].event_nid for i in event_ids if i in self._known]

    async def _snapshot(self, base: Snapshot | None, changes: StateMap) -> Snapshot:
        """A new layer; all layers below are of this batch, so their entries are at hand."""
        count = layers_to_merge(base, len(changes))
        swallowed = [
            self._entries[one.snapshot_nid] for one in (base.layers if base else ())[:count]
        ]
        (snapshot_nid,) = await self._nids.snapshots.take()
        new = derive_snapshot(base, changes, swallowed, snapshot_nid, self._room.room_nid)
        self._entries[snapshot_nid] = new.entries
        self.writes.append(new)
        return new.snapshot


def pdu_prev(fields: Mapping[str, object]) -> list[str]:
    """The IDs of an event's `prev_events`, whose form room versions tell apart."""
    prev = fields.get("prev_events")
    references = prev if isinstance(prev, list) else []
    return [str(one[0]) if isinstance(one, list) else str(one) for one in references]
