"""History that this server misses, fetched from other servers when somebody pages back to it.

Fetched events are checked like all others. Each gets the state that was before it: at the oldest
ones as a server tells it, from there on by the events themselves. They take places before all
that the stream has, with negative positions, and move nothing in the room.

A gap that nobody could fill is left alone for some minutes, so that paging over it stays quick.
Source: server-server API, "Backfilling and retrieving missing events", `GET /timestamp_to_event`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from federation.outbound.single_flight import SingleFlight
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.clock import Clock
from homeserver.rooms.arrivals import Arrivals, find_known
from homeserver.rooms.gap_states import GapStates
from homeserver.rooms.live import Known, LiveRoom, LiveRooms
from homeserver.rooms.remote_events import EventSource, Fields, Signatures
from homeserver.rooms.resolver import StateMap
from homeserver.rooms.taking import Told
from homeserver.rooms.verified import (
    Verified,
    in_order,
    reached_from,
    tell_of_refusals,
    verify_for_room,
)
from storage.cache import Cache
from storage.changes import Standing
from storage.committer import Committer
from storage.database import Database
from storage.history_gaps import CloseGap, HistoryGap, find_highest_gap, has_gaps
from storage.names import Names
from storage.rooms import servers_in_room
from storage.timeline import Point, Span

log = logging.getLogger("hearth.backfill")

CHUNK = 100
MOST_SERVERS_ASKED = 3
MOST_STATES_ASKED = 5
"""Events of a chunk before which the state is asked for."""
MOST_EDGES = 20
"""Missing events from which a chunk goes back."""
TIMEOUT_S = 60.0
"""How long each server may take for all that it is asked."""
LEFT_ALONE_MS = 600_000
REMEMBERED_BYTES = 400_000
GAP_COST = 200


class Backfill:
    """Fills gaps in rooms' histories; `MissingHistory` and `RemoteTimes` of the rooms' readers."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        committer: Committer,
        arrivals: Arrivals,
        signatures: Signatures,
        source: EventSource,
        states: GapStates,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._committer = committer
        self._arrivals = arrivals
        self._signatures = signatures
        self._source = source
        self._states = states
        self._clock = clock
        self._server_name = server_name
        self._left_alone: Cache[int, int] = Cache(REMEMBERED_BYTES)
        self._flights: SingleFlight[int, None] = SingleFlight()

    async def find_gap(self, span: Span, after: Point, passed: Iterable[int]) -> HistoryGap | None:
        """The highest gap of a span, beyond a point of it, that it makes sense to fill."""
        skipped = set(passed)
        while True:
            gap = await find_highest_gap(
                self._db, span.room_nid, after, span.upto, span.received_upto, skipped
            )
            if gap is None or (self._left_alone.get(gap.event_nid) or 0) < self._clock():
                return gap
            skipped.add(gap.event_nid)

    async def fill(self, room_nid: int, gap: HistoryGap) -> None:
        """Fetch a chunk of what is right before a gap from the servers of its room."""
        await self._flights.run(gap.event_nid, lambda: self._fill(room_nid, gap))

    async def _fill(self, room_nid: int, gap: HistoryGap) -> None:
        room = await self._room(room_nid)
        missing = {EventId(event_id) for event_id in gap.missing}
        for server in await self._servers(room_nid):
            missing -= await self._close(room, missing)
            if missing:
                edges = sorted(missing)[:MOST_EDGES]
                await self._fetch(server, room, edges)
                missing -= await self._close(room, missing)
            if not missing:
                return
        self._left_alone.put(gap.event_nid, self._clock() + LEFT_ALONE_MS, GAP_COST)

    async def _close(self, room: LiveRoom, missing: set[EventId]) -> set[EventId]:
        """Those of the missing events that have a place here by now."""
        known = await find_known(self._db, room, missing)
        placed = {i: one for i, one in known.items() if one.snapshot_nid is not None}
        if placed:
            await self._committer.commit(
                *(CloseGap(room.room_nid, i, one.event_nid) for i, one in placed.items())
            )
        return set(placed)

    async def bring_closer(
        self, room_nid: int, ts: int, nearest_ts: int | None, *, backwards: bool
    ) -> bool:
        """Fetch the event of a room that is closest to a time, if this server may lack it.

        Whether there is now a closer one than that of `nearest_ts`.
        """
        if not await has_gaps(self._db, room_nid):
            return False
        room = await self._room(room_nid)
        for server in await self._servers(room_nid):
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    event_id, found_ts = await self._source.event_near(
                        server, room.room_id, ts, backwards=backwards
                    )
            except (MatrixError, TimeoutError) as error:
                log.info("%s knows no event of %s at a time: %s", server, room.room_id, error)
                continue
            if not is_closer(found_ts, ts, nearest_ts, backwards=backwards):
                continue
            await self._fetch(server, room, [EventId(event_id)])
            known = await find_known(self._db, room, [EventId(event_id)])
            if any(one.snapshot_nid is not None for one in known.values()):
                return True
        return False

    async def _room(self, room_nid: int) -> LiveRoom:
        return await self._live.get((await self._names.rooms.get(room_nid)).room_id)

    async def _servers(self, room_nid: int) -> list[str]:
        servers = await servers_in_room(self._db, room_nid, MOST_SERVERS_ASKED + 1)
        return [server for server in servers if server != self._server_name][:MOST_SERVERS_ASKED]

    async def _fetch(self, server: str, room: LiveRoom, event_ids: Sequence[EventId]) -> None:
        """Have events and what precedes them take their places, as far as a server gives them."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                events = await self._source.backfill(server, room.room_id, event_ids, CHUNK)
                verified = await self._verify(events, room)
                linked = reached_from(event_ids, verified.pdus, lambda pdu: pdu.prev_events)
                await self._keep(server, room, linked)
        except MatrixError as error:
            log.info("%s has no history of %s for us: %s", server, room.room_id, error)
        except TimeoutError:
            log.info("%s tells no history of %s in time", server, room.room_id)

    async def _verify(self, events: Sequence[Fields], room: LiveRoom) -> Verified:
        return await verify_for_room(self._db, self._signatures, room, events)

    async def _keep(self, server: str, room: LiveRoom, pdus: Mapping[EventId, Pdu]) -> None:
        """Store those of the events that have no place here."""
        wanted = {i for pdu in pdus.values() for i in (pdu.event_id, *pdu.prev_events)}
        known = await find_known(self._db, room, wanted)
        new = {i: p for i, p in pdus.items() if not is_placed(known.get(i))}
        await self._states.have_auth_events(server, room, new)
        told = await self._told_states(server, room, new, known)
        verdicts = await self._arrivals.enter_older(room.room_id, in_order(new), told)
        left_out = (None, Standing.REJECTED)
        reasons = {i: v.reason for i, v in verdicts.items() if v.standing in left_out}
        tell_of_refusals(log, server, room.room_id, dict.fromkeys(new) | reasons)

    async def _told_states(
        self,
        server: str,
        room: LiveRoom,
        new: Mapping[EventId, Pdu],
        known: Mapping[EventId, Known],
    ) -> Told:
        """The states before the events that follow something which is not among them, nor here."""
        lowest = [
            pdu
            for pdu in in_order(new)
            if any(i not in new and not is_placed(known.get(i)) for i in pdu.prev_events)
        ]
        before: dict[EventId, StateMap] = {}
        for pdu in lowest[:MOST_STATES_ASKED]:
            try:
                before[pdu.event_id] = await self._states.state_before(server, room, pdu.event_id)
            except MatrixError as error:
                log.info("%s does not tell the state before %s: %s", server, pdu.event_id, error)
        return Told(before=before)


def is_placed(known: Known | None) -> bool:
    """Whether an event has a place in its room here."""
    return known is not None and known.snapshot_nid is not None


def is_closer(found_ts: int, ts: int, nearest_ts: int | None, *, backwards: bool) -> bool:
    """Whether a time that another server names is what was asked for, and closer than ours."""
    if backwards:
        return found_ts <= ts and (nearest_ts is None or found_ts > nearest_ts)
    return found_ts >= ts and (nearest_ts is None or found_ts < nearest_ts)
