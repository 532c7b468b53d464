"""Taking what other servers send: the checks on receipt of a PDU, and closing the gaps.

Events of one room are taken one batch after the other. What an event refers to and we lack is
asked of the server that sent it, with limits on all sides: first the events between, then, where a
gap stays, the state behind it. What cannot be had makes one event refused, never the room stuck.
Source: server-server API, "Checks performed on receipt of a PDU", "Backfilling and retrieving
missing events".
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from federation.protocol.errors import MatrixError, NotFound
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.rooms.arrivals import Arrivals, find_known
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.gap_states import GapStates, Unreachable
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.remote_events import EventSource, Fields, Signatures
from homeserver.rooms.resolver import StateMap
from homeserver.rooms.verified import Verified, in_order, verify_events
from storage.changes import Standing
from storage.database import Database

log = logging.getLogger("hearth.intake")

MISSING_LIMIT = 50
"""Events between that are asked for at once."""
MISSING_ROUNDS = 4
MOST_UNKNOWN_REFERENCES = 20
"""Gaps of one batch that are closed by asking for the state behind them."""


class Intake:
    """Takes events of other servers."""

    def __init__(
        self,
        db: Database,
        live: LiveRooms,
        arrivals: Arrivals,
        gaps: GapStates,
        elsewhere: Elsewhere,
        signatures: Signatures,
        source: EventSource,
    ) -> None:
        self._db = db
        self._live = live
        self._arrivals = arrivals
        self._gaps = gaps
        self._elsewhere = elsewhere
        self._signatures = signatures
        self._source = source
        self._taking: dict[str, asyncio.Lock] = {}

    async def receive(
        self, origin: str, room_id: str, events: Sequence[Fields]
    ) -> dict[EventId, str | None]:
        """Take events of one room that a server has sent; for each why it is refused, or None.

        Answered when what is not refused is committed. Events without a recognisable ID are not
        in the answer. Raises `NotFound` for a room that is not here.
        """
        try:
            room = await self._live.get(room_id)
        except NotFound:
            return await self._elsewhere.take_ends(origin, room_id, events)
        verified = await verify_events(self._signatures, events, room_id, room.version)
        results: dict[EventId, str | None] = dict(verified.refused)
        taking = self._taking.setdefault(room_id, asyncio.Lock())
        async with taking:
            known = await find_known(self._db, room, verified.pdus)
            new = {
                i: pdu
                for i, pdu in verified.pdus.items()
                if i not in known or known[i].snapshot_nid is None
            }
            results |= dict.fromkeys(verified.pdus.keys() - new.keys())
            if new:
                results |= await self._take(origin, room, new)
        if not taking.locked():
            self._taking.pop(room_id, None)
        return results

    async def _take(
        self, origin: str, room: LiveRoom, new: dict[EventId, Pdu]
    ) -> dict[EventId, str | None]:
        asked = set(new)
        new |= await self._events_between(origin, room, new)
        states, refused = await self._states_behind_gaps(origin, room, new)
        for event_id in refused:
            new.pop(event_id, None)
        await self._gaps.have_auth_events(origin, room, new)
        verdicts = await self._arrivals.enter(room.room_id, in_order(new), states)
        for event_id, verdict in verdicts.items():
            if verdict.standing is not Standing.ACCEPTED:
                log.info("%s of %s: %s", event_id, room.room_id, verdict.reason)
        results: dict[EventId, str | None] = {i: refused.get(i) for i in asked}
        for event_id, verdict in verdicts.items():
            if event_id in asked and verdict.standing is Standing.REJECTED:
                results[event_id] = verdict.reason
        return results

    async def _unknown_prev(self, room: LiveRoom, new: Mapping[EventId, Pdu]) -> set[EventId]:
        """What the events follow that has no place in the room here, nor among themselves."""
        prev = {i for pdu in new.values() for i in pdu.prev_events if i not in new}
        known = await find_known(self._db, room, prev)
        return {i for i in prev if i not in known or known[i].snapshot_nid is None}

    async def _events_between(
        self, origin: str, room: LiveRoom, new: Mapping[EventId, Pdu]
    ) -> dict[EventId, Pdu]:
        """Events between the room as it stands and new ones, as far as they can be had."""
        between: dict[EventId, Pdu] = {}
        for _ in range(MISSING_ROUNDS):
            everything = {**new, **between}
            unknown = await self._unknown_prev(room, everything)
            if not unknown:
                break
            latest = [i for i, pdu in everything.items() if unknown & set(pdu.prev_events)]
            try:
                found = await self._source.missing_events(
                    origin,
                    room.room_id,
                    list(room.extremities.values()),
                    latest[:MISSING_LIMIT],
                    limit=MISSING_LIMIT,
                    min_depth=0,
                )
            except MatrixError as error:
                log.info("%s does not tell of missing events: %s", origin, error)
                break
            verified = await self._verify(found, room)
            fresh = {i: p for i, p in verified.pdus.items() if i not in everything}
            if not fresh:
                break
            between |= fresh
        return between

    async def _states_behind_gaps(
        self, origin: str, room: LiveRoom, new: Mapping[EventId, Pdu]
    ) -> tuple[dict[EventId, StateMap], dict[EventId, str]]:
        """The state before each event that still follows an unknown one; whom that fails."""
        states: dict[EventId, StateMap] = {}
        refused: dict[EventId, str] = {}
        unknown = await self._unknown_prev(room, new)
        if not unknown:
            return states, refused
        open_ended = [i for i, pdu in new.items() if unknown & set(pdu.prev_events)]
        for count, event_id in enumerate(open_ended):
            try:
                if count >= MOST_UNKNOWN_REFERENCES:
                    raise Unreachable("the event follows too many unknown ones")
                states[event_id] = await self._gaps.state_before(origin, room, event_id)
            except MatrixError as error:
                refused[event_id] = f"what the event follows cannot be had: {error.message}"
        return states, refused

    async def _verify(self, events: Sequence[Fields], room: LiveRoom) -> Verified:
        return await verify_events(self._signatures, events, room.room_id, room.version)
