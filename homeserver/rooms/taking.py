"""One batch of events of other servers on its way into a room: the checks that take state.

Most events follow the room as it stands and are staged like our own. Any other (a fork, or the end
of one) is taken apart: its state before is worked out from the states after its `prev_events`, and
the room's current state from all that are left. States are compared by the layers that they do not
share, so what a fork costs does not depend on the size of the room. Everything is staged on top of
what was staged before it, and all of a batch is one commit.

An event that cannot be judged, because something that it refers to is not here, is not kept at
all: what is rejected stays so for ever, and nobody may bring that upon an event by holding back
its ancestors, or by telling lies about the state before it.
Source: server-server API, "Checks performed on receipt of a PDU", "Soft failure".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from federation.protocol.auth_events import CREATE, POWER_LEVELS, auth_event_places
from federation.protocol.auth_rules.general import check_auth, check_auth_events
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.canonical_json import encode_for
from federation.protocol.errors import AuthRuleFailed, MatrixError
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.redaction import redact
from homeserver.rooms.append import MEMBER, Append, find_relation
from homeserver.rooms.live import Known, LiveRoom, LiveRooms, StateEntry
from homeserver.rooms.redactions import may_redact
from homeserver.rooms.resolver import Resolver, StateMap
from storage.add_events import AddEvent, Cause, DropOutlier, HeadMove
from storage.auth_edges import AuthEdges
from storage.changes import Membership, Standing, StoredEvent
from storage.committer import Write
from storage.current_state import StateChange
from storage.database import Database
from storage.memberships import MemberChange
from storage.names import Names
from storage.nids import Nids
from storage.outgoing import RelayEvent
from storage.redactions import RedactionApplied, waiting_redactions
from storage.room_state import REMOVED, Snapshot
from storage.state_layers import StateLayers

MOST_ENTRIES_SET = 256
"""More changes of the current state are committed first and then read as they are asked for."""


@dataclass(frozen=True, slots=True)
class Door:
    """What letting events in takes."""

    db: Database
    names: Names
    nids: Nids
    live: LiveRooms
    layers: StateLayers
    edges: AuthEdges
    append: Append


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an event; `reason` says why it is not accepted.

    Without a standing it could not be judged, and is not kept.
    """

    standing: Standing | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """States behind gaps as another server tells them.

    `after` has those after events that are not here, `before` those before events that are, of
    which not all that they follow is here.
    """

    after: Mapping[EventId, StateMap] = field(default_factory=dict)
    before: Mapping[EventId, StateMap] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of the events of a batch beside themselves.

    `unwanted` has why events are soft-failed whatever the rules say; a `cause` is that of the one
    event. `older` has the positions of events that happened long ago: they move nothing in
    the room.
    """

    told: Told = field(default_factory=Told)
    is_relayed: bool = False
    older: Mapping[EventId, int] | None = None
    unwanted: Mapping[EventId, str] = field(default_factory=dict)
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Where an event brings its room: the state, and what of it is new."""

    snapshot: Snapshot | None
    changes: StateMap


class Taking:
    """One batch of events on its way into one locked room."""

    def __init__(self, door: Door, room: LiveRoom, terms: Terms) -> None:
        self._door = door
        self._names = door.names
        self._append = door.append
        self._room = room
        self._terms = terms
        self._resolver = Resolver(door.db, door.names, door.layers, door.edges, room)
        self._events = self._resolver.events
        self._known: dict[EventId, Known] = {}
        self._redactions: dict[str, list[int]] = {}
        self._writes: list[Write] = []

    async def take(
        self, pdus: Sequence[Pdu]
    ) -> tuple[dict[EventId, Verdict], "asyncio.Future[int] | None"]:
        """Stage all of them; the future is that of the commit."""
        wanted = {i for pdu in pdus for i in (pdu.event_id, *pdu.prev_events, *pdu.auth_events)}
        self._known = await self._events.by_id(wanted)
        self._redactions = await waiting_redactions(
            self._door.db, self._room.room_nid, [pdu.event_id for pdu in pdus]
        )
        verdicts: dict[EventId, Verdict] = {}
        for pdu in pdus:
            known = self._known.get(pdu.event_id)
            if known is not None and known.snapshot_nid is not None:
                continue
            verdicts[pdu.event_id] = await self._take_one(pdu)
        return verdicts, self._flush()

    def _flush(self) -> "asyncio.Future[int] | None":
        if not self._writes:
            return None
        done = self._append.submit(self._room, self._writes)
        self._writes = []
        return done

    async def _take_one(self, pdu: Pdu) -> Verdict:
        hindrance = self._find_hindrance(pdu)
        if hindrance is not None:
            return Verdict(None, hindrance)
        refusal = self._check_by_auth_events(pdu)
        is_plain = self._terms.older is None and pdu.event_id not in self._redactions
        follows_room = set(pdu.prev_events) == set(self._room.extremities.values())
        if follows_room and is_plain and refusal is None:
            refusal = await self._check_by_current_state(pdu)
            if refusal is None and pdu.event_id not in self._terms.unwanted:
                return await self._stage_in_line(pdu)
        return await self._take_apart(pdu, refusal)

    def _find_hindrance(self, pdu: Pdu) -> str | None:
        """Why the event cannot be judged; None if it can."""
        if any(i not in self._known for i in pdu.auth_events):
            return "what vouches for the event is not known here"
        told = self._terms.told
        if pdu.event_id not in told.before and set(self._missing_prev(pdu)) - told.after.keys():
            return "what the event follows is not known here"
        return None

    def _missing_prev(self, pdu: Pdu) -> list[EventId]:
        """What the event follows that has no place in the room here."""
        return [
            i
            for i in pdu.prev_events
            if (known := self._known.get(i)) is None or known.snapshot_nid is None
        ]

    def _check_by_auth_events(self, pdu: Pdu) -> str | None:
        """Why the event's own auth events do not allow it; None if they do."""
        cited = [self._known[i] for i in pdu.auth_events]
        if any(known.standing == Standing.REJECTED for known in cited):
            return "an auth event was rejected"
        create = self._room.state.get(CREATE)
        if pdu.type == CREATE[0] and (create is None or create.pdu.event_id != pdu.event_id):
            return "the room was created by another event"
        return find_fault(pdu, [known.pdu for known in cited], create.pdu if create else None)

    async def _check_by_current_state(self, pdu: Pdu) -> str | None:
        places = (CREATE, *places_of(pdu))
        await self._door.live.load_entries(self._room, places)
        try:
            check_auth(pdu, self._room.auth_state(places))
        except AuthRuleFailed as error:
            return str(error)
        return None

    async def _stage_in_line(self, pdu: Pdu) -> Verdict:
        """Stage an event that follows the room as it stands, like one of our own."""
        known = self._known.get(pdu.event_id)
        if known is not None:
            self._writes.append(DropOutlier(known.event_nid))
        self._writes += await self._append.stage(
            self._room,
            pdu,
            [self._known[i].event_nid for i in pdu.auth_events],
            event_nid=known.event_nid if known else None,
            cause=self._terms.cause,
        )
        (event_nid,) = self._room.extremities
        if self._terms.is_relayed:
            self._writes.append(RelayEvent(event_nid))
        self._know(self._room.ahead.by_nid[event_nid])
        return Verdict(Standing.ACCEPTED)

    def _know(self, known: Known) -> None:
        self._known[known.pdu.event_id] = known
        self._events.add(known)

    async def _take_apart(self, pdu: Pdu, refusal: str | None) -> Verdict:
        """Take an event that does not simply follow the room, or that is rejected."""
        before = await self._state_before(pdu)
        standing, reason = Standing.ACCEPTED, refusal
        if refusal is None:
            reason = await self._check_by_state(pdu, before)
            if reason is not None and self._missing_prev(pdu):
                return Verdict(None, f"the state before it, as it was told, forbids it: {reason}")
        if reason is not None:
            standing = Standing.REJECTED
        elif self._terms.older is None:
            reason = await self._check_by_current_state(pdu)
            reason = reason or self._terms.unwanted.get(pdu.event_id)
            if reason is not None:
                standing = Standing.SOFT_FAILED
        pdu, redaction_nid = await self._redacted(pdu)
        add = await self._build(pdu, before, standing, redaction_nid)
        self._writes += [DropOutlier(k.event_nid) for k in [self._known.get(pdu.event_id)] if k]
        known = Known(add.event.event_nid, standing, add.event.snapshot_nid, pdu)
        self._know(known)
        self._room.ahead.add(known, add.auth_nids)
        if standing is not Standing.ACCEPTED:
            self._writes.append(add)
            if standing is Standing.SOFT_FAILED and pdu.event_id not in self._terms.unwanted:
                self._writes += self._append.stick(add.event, is_held=True)
            return Verdict(standing, reason)
        if self._terms.older is not None:
            redaction = await self._append.redaction(self._room, pdu)
            self._writes.append(replace(add, redaction=redaction))
            self._writes += self._append.stick(add.event)
            return Verdict(standing)
        add, changes = await self._move_room(pdu, add)
        self._writes.append(add)
        self._writes += self._append.stick(add.event)
        if self._terms.is_relayed:
            self._writes.append(RelayEvent(add.event.event_nid))
        await self._set_entries(changes)
        return Verdict(standing)

    async def _state_before(self, pdu: Pdu) -> Snapshot | None:
        missing = self._missing_prev(pdu)
        told = self._terms.told
        if missing and pdu.event_id in told.before:
            return await self._told_snapshot(told.before[pdu.event_id])
        prev = [self._known[i] for i in pdu.prev_events if i not in missing]
        nids = list(dict.fromkeys(k.snapshot_nid for k in prev if k.snapshot_nid is not None))
        stacks = await self._door.layers.snapshots(nids)
        snapshots = [stacks[nid] for nid in nids]
        snapshots += [await self._told_snapshot(told.after[event_id]) for event_id in missing]
        if len(snapshots) < 2:
            return snapshots[0] if snapshots else None
        closest, changes = await self._resolver.resolve_snapshots(snapshots)
        return await self._derive(snapshots[closest], changes)

    async def _told_snapshot(self, state: StateMap) -> Snapshot:
        """A state that another server has told, kept as what it changes of the room's."""
        base = self._room.snapshot
        told = await self._derive(base, difference(await self._door.layers.whole(base), state))
        if told is None:
            raise Unreachable("what the event follows has no state")
        return told

    async def _derive(self, base: Snapshot | None, changes: StateMap) -> Snapshot | None:
        """The state that has these changes over another one; it is staged if it is new."""
        if not changes:
            return base
        new = await self._append.derive(self._room, base, changes)
        self._writes.append(new)
        return new.snapshot

    async def _check_by_state(self, pdu: Pdu, before: Snapshot | None) -> str | None:
        """Why the state before the event does not allow it; None if it does."""
        places = await self._names.places.find_nids((CREATE, *places_of(pdu)))
        state = await self._door.layers.at(before, places.values())
        events = await self._events.by_nid(state.values())
        entries = {place: events[state[nid]].pdu for place, nid in places.items() if nid in state}
        try:
            check_auth(pdu, AuthState(entries))
        except AuthRuleFailed as error:
            return str(error)
        return None

    async def _redacted(self, pdu: Pdu) -> tuple[Pdu, int | None]:
        """The event as it is kept, and what redacted it before it came."""
        waiting = self._redactions.get(pdu.event_id, ())
        for event_nid, redaction in (await self._events.by_nid(waiting)).items():
            if may_redact(redaction.pdu, pdu.sender, self._room.power):
                version = self._room.version
                fields = redact(decode_event(pdu.encoded, version), version)
                encoded = encode_for(fields, version)
                self._writes.append(RedactionApplied(event_nid))
                kept = parse_stored_pdu(encoded, version, pdu.event_id, self._room.room_id)
                return kept, event_nid
        return pdu, None

    async def _build(
        self, pdu: Pdu, before: Snapshot | None, standing: Standing, redacted_by: int | None
    ) -> AddEvent:
        """The event's row; the state after it is staged."""
        known = self._known.get(pdu.event_id)
        event_nid = known.event_nid if known else (await self._door.nids.events.take())[0]
        place_nid = await self._names.places.get_nid(pdu.state_place) if pdu.is_state else None
        after, replaced = before, None
        if place_nid is not None:
            replaced = (await self._door.layers.at(before, [place_nid])).get(place_nid)
            if standing is not Standing.REJECTED:
                after = await self._derive(before, {place_nid: event_nid})
        older = self._terms.older or {}
        stored = StoredEvent(
            event_nid,
            older.get(pdu.event_id) if standing is Standing.ACCEPTED else None,
            pdu.depth,
            self._room.room_nid,
            await self._names.users.get_nid(pdu.sender),
            place_nid,
            after.snapshot_nid if after else None,
            replaced,
            redacted_by,
            standing,
            pdu.event_id,
            pdu.encoded,
            decode_event(pdu.encoded, self._room.version),
        )
        return AddEvent(
            stored,
            await self._names.types.get_nid(pdu.type),
            pdu.origin_server_ts,
            tuple(self._known[i].event_nid for i in pdu.prev_events if i in self._known),
            tuple(self._known[i].event_nid for i in pdu.auth_events if i in self._known),
            relation=find_relation(pdu.content) if standing is Standing.ACCEPTED else None,
            cause=self._terms.cause if standing is Standing.ACCEPTED else None,
            missing_prev=tuple(self._missing_prev(pdu)),
            may_be_missed=True,
        )

    async def _move_room(self, pdu: Pdu, add: AddEvent) -> tuple[AddEvent, StateMap]:
        """Move the room's head to where the event brings it; what of the current state changes."""
        room, event = self._room, add.event
        left = {n: i for n, i in room.extremities.items() if n not in add.prev_nids}
        moved = await self._state_with(event, left)
        redaction = await self._append.redaction(room, pdu)
        head = HeadMove(
            room.revision,
            tuple(room.extremities),
            moved.snapshot.snapshot_nid if moved.snapshot else None,
            max(room.max_depth, pdu.depth),
            (*left, event.event_nid),
        )
        add = replace(
            add,
            head=head,
            state_changes=await self._state_changes(moved.changes),
            members=await self._member_changes(add, moved.changes),
            redaction=redaction,
        )
        room.revision += 1
        room.max_depth = head.max_depth
        room.extremities = {**left, event.event_nid: pdu.event_id}
        room.snapshot = moved.snapshot
        room.tip_fields = {}
        return add, moved.changes

    async def _state_with(self, event: StoredEvent, left: Mapping[int, EventId]) -> Moved:
        """The room's current state once an event is one of its ends, beside those left."""
        layers, former = self._door.layers, self._room.snapshot
        ends = [event.snapshot_nid]
        ends += [k.snapshot_nid for k in (await self._events.by_nid(left)).values()]
        nids = list(dict.fromkeys(nid for nid in ends if nid is not None))
        stacks = await layers.snapshots(nids)
        snapshots = [stacks[nid] for nid in nids]
        closest, changes = 0, dict[int, int]()
        if len(snapshots) > 1:
            closest, changes = await self._resolver.resolve_snapshots(snapshots)
        current = snapshots[closest]
        if not changes:
            return Moved(current, await layers.changes(former, current))
        # The state is told from the one before, with which it mostly shares more.
        differences = await layers.changes(former, current) | changes
        known = await layers.at(former, differences)
        differences = {
            place: nid for place, nid in differences.items() if known.get(place, REMOVED) != nid
        }
        return Moved(await self._derive(former, differences), differences)

    async def _set_entries(self, changes: StateMap) -> None:
        """Have the live room's entries agree with its new state."""
        room = self._room
        places = await self._names.places.get_places(changes)
        if len(changes) > MOST_ENTRIES_SET:
            for place in places.values():
                room.forget_entry(place)
            done = self._flush()
            if done is not None:
                await asyncio.shield(done)
        else:
            events = await self._events.by_nid(changes.values())
            for place_nid, place in places.items():
                known = events.get(changes[place_nid])
                room.set_entry(place, StateEntry(known.event_nid, known.pdu) if known else None)
        await self._door.live.load_entries(room, (CREATE, POWER_LEVELS))

    async def _state_changes(self, changes: StateMap) -> tuple[StateChange, ...]:
        places = await self._names.places.get_places(changes)
        return tuple(
            StateChange(nid, event, is_member=places[nid][0] == MEMBER)
            for nid, event in changes.items()
        )

    async def _member_changes(self, add: AddEvent, changes: StateMap) -> tuple[MemberChange, ...]:
        """The memberships that the change of the current state brings with it."""
        places = await self._names.places.get_places(changes)
        members = {nid: place[1] for nid, place in places.items() if place[0] == MEMBER}
        events = await self._events.by_nid(changes[nid] for nid in members)
        senders = await self._names.users.get_nids({k.pdu.sender for k in events.values()})
        found = []
        for nid, user_id in members.items():
            known = events.get(changes[nid])
            if known is not None:
                sender_nid = senders[known.pdu.sender]
                found.append(
                    await self._append.member_change(known.pdu, known.event_nid, sender_nid)
                )
            else:
                user_nid = await self._names.users.get_nid(user_id)
                is_local = self._append.is_ours(user_id)
                event_nid = add.event.event_nid
                found.append(
                    MemberChange(user_nid, user_nid, event_nid, Membership.LEAVE, is_local)
                )
        return tuple(found)


def find_fault(pdu: Pdu, auth_events: Sequence[Pdu], create: Pdu | None) -> str | None:
    """Why an event's auth events, none of which was rejected, do not allow it; None if they do."""
    try:
        check_auth_events(pdu, auth_events)
        state: dict[StateKey, Pdu] = {event.state_place: event for event in auth_events}
        check_auth(pdu, AuthState(state, create=create))
    except AuthRuleFailed as error:
        return str(error)
    return None


def places_of(pdu: Pdu) -> list[StateKey]:
    """The places of the state that the rules ask for an event."""
    return auth_event_places(pdu.type, pdu.state_key, pdu.sender, pdu.content, pdu.room_version)


class Unreachable(MatrixError):
    """What an event refers to cannot be had."""


def difference(former: StateMap, state: StateMap) -> dict[int, int]:
    """What leads from one state to another: place -> event, or `REMOVED`."""
    changes = {place: event for place, event in state.items() if former.get(place) != event}
    return changes | {place: REMOVED for place in former if place not in state}
