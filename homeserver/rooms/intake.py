"""Taking what other servers send: the checks on receipt of a PDU, and closing the gaps.

What an event refers to and we lack is asked of the server that sent it, with limits on all sides:
first the events between, then, where a gap stays below these, the state behind it. Events of one
server for one room are taken one batch after the other; who is slow to tell what it is asked keeps
nobody else waiting. What cannot be had makes one event refused, never the room stuck.
Source: server-server API, "Checks performed on receipt of a PDU", "Backfilling and retrieving
missing events".
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from federation.protocol.errors import MatrixError, NotFound
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from homeserver.rooms.arrivals import NOTHING_TOLD, Arrivals, find_known
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.gap_states import GapStates
from homeserver.rooms.held import HeldEvents
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.remote_events import EventSource, Fields, Signatures
from homeserver.rooms.resolver import StateMap
from homeserver.rooms.taking import Told, Verdict
from homeserver.rooms.turns import Turns
from homeserver.rooms.verified import (
    Verified,
    in_order,
    reached_from,
    tell_of_refusals,
    verify_for_room,
)
from storage.changes import Standing
from storage.database import Database

log = logging.getLogger("hearth.intake")

MISSING_LIMIT = 50
"""Events between that are asked for at once."""
MISSING_ROUNDS = 4
FULL_ANSWER = 10
"""Servers answer with at least so many events, if there are; who gives fewer has no more."""
MOST_UNKNOWN_REFERENCES = 20
"""Unknown events that a batch may follow and be taken by the states after them."""
CLOSING_TIMEOUT_S = 600.0
"""How long the server that sent a batch may take for all that it is asked about it."""


class Intake:
    """Takes events of other servers."""

    def __init__(
        self,
        db: Database,
        live: LiveRooms,
        arrivals: Arrivals,
        policies: PolicyServers,
        gaps: GapStates,
        held: HeldEvents,
        elsewhere: Elsewhere,
        signatures: Signatures,
        source: EventSource,
    ) -> None:
        self._db = db
        self._live = live
        self._arrivals = arrivals
        self._policies = policies
        self._gaps = gaps
        self._held = held
        self._elsewhere = elsewhere
        self._signatures = signatures
        self._source = source
        self._taking = Turns[tuple[str, str]]()

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
        verified = await self._verify(events, room)
        results: dict[EventId, str | None] = dict(verified.refused)
        pdus = verified.pdus
        async with self._taking.of((origin, room_id)):
            known = await find_known(self._db, room, pdus)
            new = {
                i: pdu for i, pdu in pdus.items() if i not in known or known[i].snapshot_nid is None
            }
            results |= dict.fromkeys(pdus.keys() - new.keys())
            if new:
                results |= await self._take(origin, room, new)
            await self._try_held(origin, room)
        tell_of_refusals(log, origin, room_id, results)
        return results

    async def _try_held(self, origin: str, room: LiveRoom) -> None:
        """Take events again that the server has sent before and that could not be judged."""
        held = await self._held.due(origin, room)
        if not held:
            return
        known = await find_known(self._db, room, held)
        placed = {i for i, one in known.items() if one.snapshot_nid is not None}
        await self._held.release(origin, room, placed)
        waiting = {i: pdu for i, pdu in held.items() if i not in placed}
        if waiting:
            await self._take(origin, room, waiting)

    async def _take(
        self, origin: str, room: LiveRoom, new: Mapping[EventId, Pdu]
    ) -> dict[EventId, str | None]:
        """Take events that have no place here yet; for each why it is refused, or None.

        An event that follows others which its server has told and which cannot be judged is not
        refused but held: nothing is known to be wrong with it.
        """
        pdus, told, refused = dict(new), NOTHING_TOLD, dict[EventId, str]()
        between: dict[EventId, Pdu] = {}
        try:
            async with asyncio.timeout(CLOSING_TIMEOUT_S):
                between, unknown = await self._events_between(origin, room, new)
                pdus |= between
                told = await self._states_behind_gaps(origin, room, between, unknown)
                refused = withheld_from(pdus, unknown - told.after.keys())
                certain = {i: pdu for i, pdu in pdus.items() if i not in refused}
                await self._gaps.have_auth_events(origin, room, certain)
        except TimeoutError:
            log.info("%s does not close the gaps of %s in time", origin, room.room_id)
        ordered = in_order(pdus)
        verdicts: dict[EventId, Verdict] = {}
        async for reviewed in self._policies.review(room.room_id, ordered):
            verdicts |= await self._arrivals.enter(
                room.room_id, reviewed.pdus, told, unwanted=reviewed.unwanted
            )
        for event_id, verdict in verdicts.items():
            if verdict.standing in (None, Standing.REJECTED):
                refused.setdefault(event_id, verdict.reason or "")
        soft_failed = {i: v for i, v in verdicts.items() if v.standing is Standing.SOFT_FAILED}
        for event_id, verdict in list(soft_failed.items())[:1]:
            count = f"{len(soft_failed)} of {len(verdicts)} events"
            log.info("%s of %s soft-failed, %s: %s", count, room.room_id, event_id, verdict.reason)
        kept = {i for i, verdict in verdicts.items() if verdict.standing is not None}
        aside = unjudged_followers(new, between.keys() & refused.keys() - kept)
        await self._held.release(origin, room, kept)
        for event_id in list(aside)[:1]:
            count = f"{len(aside)} of {len(new)} events"
            log.info("%s of %s held, %s: %s", count, room.room_id, event_id, refused[event_id])
        refused = {i: reason for i, reason in refused.items() if i not in aside}
        if aside:
            refused |= await self._held.hold(origin, room, aside)
        in_circles = new.keys() - {pdu.event_id for pdu in ordered}
        refused |= dict.fromkeys(in_circles, "the event refers to itself, through others or not")
        return {event_id: refused.get(event_id) for event_id in new}

    async def _unknown_prev(self, room: LiveRoom, new: Mapping[EventId, Pdu]) -> set[EventId]:
        """What the events follow that has no place in the room here, nor among themselves."""
        prev = {i for pdu in new.values() for i in pdu.prev_events if i not in new}
        known = await find_known(self._db, room, prev)
        return {i for i in prev if i not in known or known[i].snapshot_nid is None}

    async def _events_between(
        self, origin: str, room: LiveRoom, new: Mapping[EventId, Pdu]
    ) -> tuple[dict[EventId, Pdu], set[EventId]]:
        """Events between the room as it stands and new ones, as far as they can be had.

        Beside them what they and the new ones follow that is still unknown.
        """
        between: dict[EventId, Pdu] = {}
        unknown = await self._unknown_prev(room, new)
        for _ in range(MISSING_ROUNDS):
            if not unknown:
                break
            everything = {**new, **between}
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
            linked = reached_from(unknown, verified.pdus, lambda pdu: pdu.prev_events)
            fresh = {i: p for i, p in linked.items() if i not in everything}
            if not fresh:
                break
            between |= fresh
            unknown = await self._unknown_prev(room, {**new, **between})
            if len(found) < FULL_ANSWER:
                break
        return between, unknown

    async def _states_behind_gaps(
        self,
        origin: str,
        room: LiveRoom,
        between: Mapping[EventId, Pdu],
        unknown: set[EventId],
    ) -> Told:
        """The states after the unknown events that those between follow, as far as they are told.

        What an event itself follows that a server sends it has to tell as events: who keeps that
        back might have the room go on from whatever state it likes.
        """
        behind = [i for pdu in in_order(between) for i in pdu.prev_events if i in unknown]
        states: dict[EventId, StateMap] = {}
        for event_id in list(dict.fromkeys(behind))[:MOST_UNKNOWN_REFERENCES]:
            try:
                states[event_id] = await self._gaps.state_after(origin, room, event_id)
            except MatrixError as error:
                log.info("The state after %s cannot be had from %s: %s", event_id, origin, error)
        return Told(after=states)

    async def _verify(self, events: Sequence[Fields], room: LiveRoom) -> Verified:
        return await verify_for_room(self._db, self._signatures, room, events)


def withheld_from(pdus: Mapping[EventId, Pdu], unknown: set[EventId]) -> dict[EventId, str]:
    """Why events cannot be taken that follow unknown ones, or others that cannot be taken."""
    refused: dict[EventId, str] = {}
    for pdu in in_order(pdus):
        if any(i in unknown or i in refused for i in pdu.prev_events):
            refused[pdu.event_id] = "what the event follows cannot be had"
    return refused


def unjudged_followers(new: Mapping[EventId, Pdu], unjudged: set[EventId]) -> dict[EventId, Pdu]:
    """The new events that follow unjudged ones, by way of each other or not."""
    aside: dict[EventId, Pdu] = {}
    for pdu in in_order(new):
        if any(i in unjudged or i in aside for i in pdu.prev_events):
            aside[pdu.event_id] = pdu
    return aside
