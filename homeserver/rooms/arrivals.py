"""Events of other servers enter a room: the checks that take state, and the state they leave.

What comes here has valid signatures and hashes. Most events follow the room as it stands and are
staged like our own, many in one commit. Any other (a fork, or the end of one) is taken by itself:
its state before is worked out from the states after its `prev_events`, and the room's current
state from all that are left.

An event that cannot be judged, because something that it refers to is not here, is not kept at
all: what is rejected stays so for ever, and nobody may bring that upon an event by holding back
its ancestors, or by telling lies about the state before it.
Source: server-server API, "Checks performed on receipt of a PDU", "Soft failure".
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.general import check_auth, check_auth_events
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import EventFormat
from homeserver.rooms.append import MEMBER, Append, find_relation
from homeserver.rooms.live import LiveRoom, LiveRooms, StateEntry
from homeserver.rooms.resolver import Resolver, StateMap
from storage.add_events import (
    AddEvent,
    DropOutlier,
    EventSeen,
    HeadMove,
    MemberChange,
    RoomMoved,
    StateChange,
)
from storage.changes import Membership, Standing, StoredEvent
from storage.committer import Write
from storage.database import Database
from storage.events import find_events, get_events
from storage.names import Names
from storage.nids import Nids
from storage.outgoing import RelayEvent
from storage.room_state import (
    REMOVED,
    NewSnapshot,
    Snapshot,
    derive_snapshot,
    get_layers,
    get_snapshot,
    get_state,
    get_states,
    layers_to_merge,
)

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an event; `reason` says why it is not accepted.

    Without a standing it could not be judged, and is not kept.
    """

    standing: Standing | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """An event that others refer to."""

    event_nid: int
    standing: int
    snapshot_nid: int | None
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class StateAround:
    """The state before an event and the snapshot that has it; the snapshot may be new."""

    state: StateMap
    snapshot: Snapshot | None
    writes: tuple[NewSnapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class Door:
    """What letting events in takes."""

    db: Database
    names: Names
    nids: Nids
    live: LiveRooms
    append: Append


class Arrivals:
    """Lets events of other servers into rooms."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def enter(
        self,
        room_id: str,
        pdus: Sequence[Pdu],
        states_before: Mapping[EventId, StateMap] | None = None,
        *,
        is_relayed: bool = False,
    ) -> dict[EventId, Verdict]:
        """Take events in the order given, each after those that it refers to.

        `states_before` has the states of events behind a gap, whose `prev_events` are not all
        known, as another server tells them. Events that are in the room already are passed over.
        With `is_relayed` it is for this server to tell the others in the room. Answered when all
        is committed.
        """
        for _ in range(ATTEMPTS):
            room = await self._door.live.get(room_id)
            async with room.lock:
                if room.is_stale:
                    continue
                taking = Taking(self._door, room, dict(states_before or {}), is_relayed)
                try:
                    verdicts, done = await taking.take(pdus)
                except (RoomMoved, EventSeen):
                    continue
                except BaseException:
                    self._door.live.drop(room)
                    raise
            try:
                if done is not None:
                    await asyncio.shield(done)
            except (RoomMoved, EventSeen):
                continue
            return verdicts
        raise RoomMoved([room.room_nid])


async def find_known(
    db: Database, room: LiveRoom, event_ids: Iterable[EventId]
) -> dict[EventId, Known]:
    """Those of the events that are stored, and of this room: others mean nothing to it."""
    found = await find_events(db, set(event_ids))
    return {
        EventId(i): known_of(room, event)
        for i, event in found.items()
        if event.room_nid == room.room_nid
    }


SELECT_TAKEN = "SELECT event_id FROM events WHERE event_id = ANY($1::text[]) AND room_nid <> $2"


async def find_taken(db: Database, room: LiveRoom, event_ids: Iterable[EventId]) -> set[EventId]:
    """Those of the IDs that events of other rooms have.

    That can be in room versions 1 and 2 only, whose servers name their events as they like.
    """
    if room.version.event_format is not EventFormat.V1:
        return set()
    rows = await db.fetch(SELECT_TAKEN, list(event_ids), room.room_nid)
    return {EventId(row[0]) for row in rows}


def known_of(room: LiveRoom, event: StoredEvent) -> Known:
    """A stored event as others refer to it."""
    event_id = EventId(event.event_id)
    pdu = parse_stored_pdu(event.json, room.version, event_id, room.room_id)
    return Known(event.event_nid, event.standing, event.snapshot_nid, pdu)


class Taking:
    """One batch of events on its way into one locked room."""

    def __init__(
        self,
        door: Door,
        room: LiveRoom,
        states_before: dict[EventId, StateMap],
        is_relayed: bool,
    ) -> None:
        self._db = door.db
        self._names = door.names
        self._nids = door.nids
        self._live = door.live
        self._append = door.append
        self._room = room
        self._states_before = states_before
        self._is_relayed = is_relayed
        self._known: dict[EventId, Known] = {}
        self._writes: list[Write] = []

    async def take(
        self, pdus: Sequence[Pdu]
    ) -> tuple[dict[EventId, Verdict], "asyncio.Future[int] | None"]:
        """Stage or commit all of them; the future is that of the last commit."""
        wanted = {i for pdu in pdus for i in (pdu.event_id, *pdu.prev_events, *pdu.auth_events)}
        self._known = await find_known(self._db, self._room, wanted)
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
        follows_room = set(pdu.prev_events) == set(self._room.extremities.values())
        if follows_room and refusal is None:
            refusal = await self._check_by_current_state(pdu)
            if refusal is None:
                return await self._stage_in_line(pdu)
        done = self._flush()
        if done is not None:
            await asyncio.shield(done)
        return await self._take_apart(pdu, refusal)

    def _find_hindrance(self, pdu: Pdu) -> str | None:
        """Why the event cannot be judged; None if it can."""
        if any(i not in self._known for i in pdu.auth_events):
            return "what vouches for the event is not known here"
        if not self._follows_known(pdu) and pdu.event_id not in self._states_before:
            return "what the event follows is not known here"
        return None

    def _follows_known(self, pdu: Pdu) -> bool:
        """Whether all that the event follows has a place in the room here."""
        return all(
            (known := self._known.get(i)) is not None and known.snapshot_nid is not None
            for i in pdu.prev_events
        )

    def _check_by_auth_events(self, pdu: Pdu) -> str | None:
        """Why the event's own auth events do not allow it; None if they do."""
        cited = [self._known[i] for i in pdu.auth_events]
        if any(known.standing == Standing.REJECTED for known in cited):
            return "an auth event was rejected"
        create = self._room.state.get(CREATE)
        if pdu.type == CREATE[0]:
            return "the room was created by another event"
        return find_fault(pdu, [known.pdu for known in cited], create.pdu if create else None)

    async def _check_by_current_state(self, pdu: Pdu) -> str | None:
        places = (CREATE, *places_of(pdu))
        await self._live.load_entries(self._room, places)
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
        )
        (event_nid,) = self._room.extremities
        if self._is_relayed:
            self._writes.append(RelayEvent(event_nid))
        snapshot = self._room.snapshot
        self._known[pdu.event_id] = Known(
            event_nid, Standing.ACCEPTED, snapshot.snapshot_nid if snapshot else None, pdu
        )
        return Verdict(Standing.ACCEPTED)

    async def _take_apart(self, pdu: Pdu, refusal: str | None) -> Verdict:
        """Take an event that does not simply follow the room, or that is rejected."""
        around = await self._state_before(pdu)
        standing, reason = Standing.ACCEPTED, refusal
        if refusal is None:
            reason = await self._check_by_state(pdu, around.state)
            if reason is not None and not self._follows_known(pdu):
                return Verdict(None, f"the state before it, as it was told, forbids it: {reason}")
        if reason is not None:
            standing = Standing.REJECTED
        else:
            reason = await self._check_by_current_state(pdu)
            if reason is not None:
                standing = Standing.SOFT_FAILED
        add, snapshots = await self._build(pdu, around, standing)
        writes: list[Write] = [*around.writes, *snapshots]
        known = self._known.get(pdu.event_id)
        if known is not None:
            writes.append(DropOutlier(known.event_nid))
        if standing is Standing.ACCEPTED:
            more, add = await self._move_room(pdu, add, around, snapshots)
            writes += more
        writes.append(add)
        if self._is_relayed and standing is Standing.ACCEPTED:
            writes.append(RelayEvent(add.event.event_nid))
        await asyncio.shield(self._append.submit(self._room, writes))
        self._known[pdu.event_id] = Known(
            add.event.event_nid, standing, add.event.snapshot_nid, pdu
        )
        return Verdict(standing, reason)

    async def _state_before(self, pdu: Pdu) -> StateAround:
        given = None if self._follows_known(pdu) else self._states_before.get(pdu.event_id)
        prev = [self._known[i] for i in pdu.prev_events if i in self._known]
        snapshots = list(dict.fromkeys(k.snapshot_nid for k in prev if k.snapshot_nid is not None))
        if given is None and len(snapshots) == 1:
            state = await get_state(self._db, snapshots[0])
            return StateAround(state, await get_snapshot(self._db, snapshots[0]))
        states = await get_states(self._db, snapshots)
        state = dict(given) if given is not None else {}
        if given is None and states:
            state = await self._resolver().resolve(list(states.values()))
        for nid, existing in states.items():
            if existing == state:
                return StateAround(state, await get_snapshot(self._db, nid))
        base_nid = snapshots[0] if snapshots else None
        base = await get_snapshot(self._db, base_nid) if base_nid is not None else None
        former = states[base_nid] if base_nid is not None else {}
        new = await self._derive(base, difference(former, state))
        return StateAround(state, new.snapshot, (new,))

    async def _check_by_state(self, pdu: Pdu, state: StateMap) -> str | None:
        """Why the state before the event does not allow it; None if it does."""
        places = await self._names.places.find_nids((CREATE, *places_of(pdu)))
        events = await get_events(self._db, [state[p] for p in places.values() if p in state])
        entries = {
            place: known_of(self._room, events[state[nid]]).pdu
            for place, nid in places.items()
            if nid in state
        }
        try:
            check_auth(pdu, AuthState(entries))
        except AuthRuleFailed as error:
            return str(error)
        return None

    async def _build(
        self, pdu: Pdu, around: StateAround, standing: Standing
    ) -> tuple[AddEvent, list[NewSnapshot]]:
        """The event's row and, for a state event that counts, the layer that it adds."""
        known = self._known.get(pdu.event_id)
        event_nid = known.event_nid if known else (await self._nids.events.take())[0]
        place_nid = await self._names.places.get_nid(pdu.state_place) if pdu.is_state else None
        snapshot, snapshots = around.snapshot, []
        if place_nid is not None and standing is not Standing.REJECTED:
            new = await self._derive(snapshot, {place_nid: event_nid}, around.writes)
            snapshots.append(new)
            snapshot = new.snapshot
        stored = StoredEvent(
            event_nid,
            None,
            pdu.depth,
            self._room.room_nid,
            await self._names.users.get_nid(pdu.sender),
            place_nid,
            snapshot.snapshot_nid if snapshot else None,
            around.state.get(place_nid) if place_nid is not None else None,
            None,
            standing,
            pdu.event_id,
            pdu.encoded,
            decode_event(pdu.encoded, self._room.version),
        )
        add = AddEvent(
            stored,
            await self._names.types.get_nid(pdu.type),
            pdu.origin_server_ts,
            tuple(self._known[i].event_nid for i in pdu.prev_events if i in self._known),
            tuple(self._known[i].event_nid for i in pdu.auth_events if i in self._known),
            relation=find_relation(pdu.content) if standing is Standing.ACCEPTED else None,
        )
        return add, snapshots

    async def _move_room(
        self,
        pdu: Pdu,
        add: AddEvent,
        around: StateAround,
        snapshots: Sequence[NewSnapshot],
    ) -> tuple[list[Write], AddEvent]:
        """Move the room's head and current state to where the event brings them."""
        room, event = self._room, add.event
        left = {n: i for n, i in room.extremities.items() if n not in add.prev_nids}
        after = dict(around.state)
        if event.place_nid is not None:
            after[event.place_nid] = event.event_nid
        former = await get_state(self._db, room.snapshot.snapshot_nid) if room.snapshot else {}
        current = after
        if left:
            others = await get_events(self._db, left)
            nids = {e.snapshot_nid for e in others.values() if e.snapshot_nid is not None}
            states = await get_states(self._db, nids)
            resolver = self._resolver()
            resolver.add(event.event_nid, pdu, add.auth_nids)
            current = await resolver.resolve([after, *states.values()])
        changes = difference(former, current)
        own = snapshots[-1].snapshot if snapshots else around.snapshot
        writes: list[Write] = []
        snapshot = room.snapshot
        if current == after:
            snapshot = own
        elif changes:
            new = await self._derive(room.snapshot, changes)
            writes.append(new)
            snapshot = new.snapshot
        redaction = await self._append.redaction(room, pdu)
        head = HeadMove(
            room.revision,
            snapshot.snapshot_nid if snapshot else None,
            max(room.max_depth, pdu.depth),
            (*left, event.event_nid),
        )
        moved = replace(
            add,
            head=head,
            state_changes=await self._state_changes(changes),
            members=await self._member_changes(pdu, add, changes),
            redaction=redaction,
        )
        await self._move_live(pdu, event, snapshot, left, changes, head)
        return writes, moved

    async def _move_live(
        self,
        pdu: Pdu,
        event: StoredEvent,
        snapshot: Snapshot | None,
        left: Mapping[int, EventId],
        changes: StateMap,
        head: HeadMove,
    ) -> None:
        room = self._room
        room.revision += 1
        room.max_depth = head.max_depth
        room.extremities = {**left, event.event_nid: pdu.event_id}
        room.snapshot = snapshot
        room.layer_entries = {}
        room.tip_fields = {}
        for place in (await self._names.places.get_places(changes)).values():
            room.forget_entry(place)
        if pdu.is_state and changes.get(event.place_nid or 0) == event.event_nid:
            room.set_entry(pdu.state_place, StateEntry(event.event_nid, pdu))
        await self._live.load_entries(room, (CREATE, ("m.room.power_levels", "")))

    async def _state_changes(self, changes: StateMap) -> tuple[StateChange, ...]:
        places = await self._names.places.get_places(changes)
        return tuple(
            StateChange(nid, event, is_member=places[nid][0] == MEMBER)
            for nid, event in changes.items()
        )

    async def _member_changes(
        self, pdu: Pdu, add: AddEvent, changes: StateMap
    ) -> tuple[MemberChange, ...]:
        """The memberships that the change of the current state brings with it."""
        places = await self._names.places.get_places(changes)
        members = {nid: place[1] for nid, place in places.items() if place[0] == MEMBER}
        others = await get_events(
            self._db, [e for p, e in changes.items() if p in members and e != add.event.event_nid]
        )
        found = []
        for nid, user_id in members.items():
            event_nid = changes[nid]
            if event_nid == add.event.event_nid:
                found.append(await self._append.member_change(pdu, event_nid, add.event.sender_nid))
            elif event_nid in others:
                other = known_of(self._room, others[event_nid]).pdu
                found.append(
                    await self._append.member_change(other, event_nid, others[event_nid].sender_nid)
                )
            else:
                user_nid = await self._names.users.get_nid(user_id)
                is_local = self._append.is_ours(user_id)
                found.append(
                    MemberChange(
                        user_nid, user_nid, add.event.event_nid, Membership.LEAVE, is_local
                    )
                )
        return tuple(found)

    async def _derive(
        self,
        base: Snapshot | None,
        changes: StateMap,
        unstored: Sequence[NewSnapshot] = (),
    ) -> NewSnapshot:
        """A new layer over a snapshot whose layers are stored, but for `unstored`."""
        count = layers_to_merge(base, len(changes))
        nids = [layer.snapshot_nid for layer in (base.layers if base else ())[:count]]
        fresh = {new.snapshot.snapshot_nid: new.entries for new in unstored}
        read = [nid for nid in nids if nid not in fresh]
        entries = dict(zip(read, await get_layers(self._db, read), strict=True)) if read else {}
        swallowed = [fresh[nid] if nid in fresh else entries[nid] for nid in nids]
        (snapshot_nid,) = await self._nids.snapshots.take()
        return derive_snapshot(base, changes, swallowed, snapshot_nid, self._room.room_nid)

    def _resolver(self) -> Resolver:
        return Resolver(self._db, self._names, self._room.room_id, self._room.version)


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


def difference(former: StateMap, state: StateMap) -> dict[int, int]:
    """What leads from one state to another: place -> event, or `REMOVED`."""
    changes = {place: event for place, event in state.items() if former.get(place) != event}
    return changes | {place: REMOVED for place in former if place not in state}
