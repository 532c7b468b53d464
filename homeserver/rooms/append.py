"""The one door by which events enter a room.

`stage` works out everything that an event moves and moves the live room at once; `submit` hands
what was staged to the committer. Both are called with the room's lock held, so that events line
up; the wait for the commit happens outside, so that many events share one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import encode_for
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId, server_of
from federation.protocol.pdu import Pdu
from federation.protocol.redaction import redact
from federation.protocol.room_versions import EventFormat
from federation.protocol.sticky import sticky_until
from homeserver.clock import Clock
from homeserver.rooms.live import Known, LiveRoom, LiveRooms, StateEntry
from homeserver.rooms.redactions import may_redact
from homeserver.rooms.room_events import RoomEvents
from storage.add_events import AddEvent, Cause, HeadMove
from storage.changes import Membership, Standing, StoredEvent
from storage.committer import Committer, Write
from storage.current_state import StateChange
from storage.database import Database
from storage.memberships import MemberChange
from storage.names import Names
from storage.nids import Nids
from storage.redactions import RedactionEffect
from storage.relations import Relation
from storage.room_state import NewSnapshot, Snapshot, derive_snapshot, layers_to_merge
from storage.state_layers import StateLayers
from storage.sticky_events import StickEvent

MEMBER = "m.room.member"
REDACTION = "m.room.redaction"
MAX_RELATION_BYTES = 255
LEFT = (Membership.LEAVE, Membership.BAN)


@dataclass(frozen=True, slots=True)
class StagedState:
    """What an event changes of its room's state: nothing, unless it is a state event."""

    place_nid: int | None = None
    replaces_nid: int | None = None
    snapshots: tuple[Write, ...] = ()
    changes: tuple[StateChange, ...] = ()
    members: tuple[MemberChange, ...] = ()


STATELESS = StagedState()


class Append:
    """Takes events that passed the rules and gives them their place."""

    def __init__(
        self,
        db: Database,
        names: Names,
        nids: Nids,
        live: LiveRooms,
        layers: StateLayers,
        committer: Committer,
        clock: Clock,
        server_name: str,
        *,
        forgets_left_rooms: bool = False,
    ) -> None:
        self._db = db
        self._names = names
        self._nids = nids
        self._live = live
        self._layers = layers
        self._committer = committer
        self._clock = clock
        self.holding: set[int] = set()
        """Rooms in which sticky events are held, until somebody finds that none are."""
        self._server_name = server_name
        self._forgets_left_rooms = forgets_left_rooms

    async def stage(
        self,
        room: LiveRoom,
        pdu: Pdu,
        auth_nids: Sequence[int],
        *,
        cause: Cause | None = None,
        event_nid: int | None = None,
    ) -> list[Write]:
        """The writes of an event that follows all forward extremities of its room.

        `event_nid` is given for an event that was an outlier until now.
        The live room is moved on; the writes must be submitted, in order, before its lock is
        given back, or the room be dropped.
        """
        try:
            return await self._stage(room, pdu, auth_nids, cause, event_nid)
        except BaseException:
            self._live.drop(room)
            raise

    async def _stage(
        self,
        room: LiveRoom,
        pdu: Pdu,
        auth_nids: Sequence[int],
        cause: Cause | None,
        event_nid: int | None,
    ) -> list[Write]:
        if event_nid is None:
            (event_nid,) = await self._nids.events.take()
        sender_nid = await self._names.users.get_nid(pdu.sender)
        type_nid = await self._names.types.get_nid(pdu.type)
        state = STATELESS
        if pdu.is_state:
            state = await self._stage_state(room, pdu, event_nid, sender_nid)
        redaction = await self.redaction(room, pdu)
        snapshot_nid = room.snapshot.snapshot_nid if room.snapshot else None
        stored = StoredEvent(
            event_nid,
            None,
            pdu.depth,
            room.room_nid,
            sender_nid,
            state.place_nid,
            snapshot_nid,
            state.replaces_nid,
            None,
            Standing.ACCEPTED,
            pdu.event_id,
            pdu.encoded,
            decode_event(pdu.encoded, room.version),
        )
        add = AddEvent(
            stored,
            type_nid,
            pdu.origin_server_ts,
            tuple(room.extremities),
            tuple(auth_nids),
            HeadMove(
                room.revision,
                tuple(room.extremities),
                snapshot_nid,
                max(room.max_depth, pdu.depth),
                (event_nid,),
            ),
            state.changes,
            state.members,
            find_relation(pdu.content),
            redaction,
            cause,
        )
        move_on(room, pdu, stored, auth_nids)
        return [*state.snapshots, add, *self.stick(stored)]

    async def _stage_state(
        self, room: LiveRoom, pdu: Pdu, event_nid: int, sender_nid: int
    ) -> StagedState:
        """What a state event changes; the live room has it from now on."""
        place_nid = await self._names.places.get_nid(pdu.state_place)
        await self._live.load_entries(room, [pdu.state_place])
        replaced = room.state[pdu.state_place]
        new = await self.derive(room, room.snapshot, {place_nid: event_nid})
        room.snapshot = new.snapshot
        is_member = pdu.type == MEMBER
        members = (await self.member_change(pdu, event_nid, sender_nid),) if is_member else ()
        room.set_entry(pdu.state_place, StateEntry(event_nid, pdu))
        return StagedState(
            place_nid,
            replaced.event_nid if replaced else None,
            (new,),
            (StateChange(place_nid, event_nid, is_member=is_member),),
            members,
        )

    def submit(self, room: LiveRoom, writes: Sequence[Write]) -> "asyncio.Future[int]":
        """Hand staged writes to the committer; if their commit fails, the live room is dropped."""
        done = self._committer.submit(*writes)
        self._watch(room, done)
        return done

    def submit_alone(
        self, make: Callable[[], Awaitable[tuple[LiveRoom, Sequence[Write]]]]
    ) -> "asyncio.Future[int]":
        """Have writes staged, in a room that was loaded for it, while no process can commit."""

        async def stage() -> Sequence[Write]:
            room, writes = await make()
            self._watch(room, done)
            return writes

        done = self._committer.submit_alone(stage)
        return done

    def _watch(self, room: LiveRoom, done: "asyncio.Future[int]") -> None:
        staged = room.ahead.take_staged()

        def settle(future: "asyncio.Future[int]") -> None:
            are_stored = not future.cancelled() and future.exception() is None
            self._live.settle(room, staged, are_stored=are_stored)

        done.add_done_callback(settle)

    async def derive(
        self, room: LiveRoom, base: Snapshot | None, changes: Mapping[int, int]
    ) -> NewSnapshot:
        """A new layer over a state of the room; it counts at once, and must be submitted."""
        swallowed = [
            layer.snapshot_nid
            for layer in (base.layers if base else ())[: layers_to_merge(base, len(changes))]
        ]
        entries = await self._layers.entries(swallowed) if swallowed else {}
        (snapshot_nid,) = await self._nids.snapshots.take()
        new = derive_snapshot(
            base, changes, [entries[nid] for nid in swallowed], snapshot_nid, room.room_nid
        )
        self._live.hold(room, new)
        return new

    def stick(self, event: StoredEvent, *, is_held: bool = False) -> list[Write]:
        """What a sticky event that has just come needs besides; nothing for any other."""
        now = self._clock()
        expires_ts = sticky_until(event.fields, now)
        if expires_ts is None or expires_ts <= now:
            return []
        if is_held:
            self.holding.add(event.room_nid)
        return [StickEvent(event.event_nid, event.room_nid, expires_ts, is_held)]

    def is_ours(self, user_id: str) -> bool:
        """Whether a user is one of this server's."""
        return server_of(user_id) == self._server_name

    async def member_change(self, pdu: Pdu, event_nid: int, sender_nid: int) -> MemberChange:
        """The membership that a member event gives."""
        user_id = str(pdu.state_key)
        membership, is_local = Membership.of(pdu.content["membership"]), self.is_ours(user_id)
        return MemberChange(
            await self._names.users.get_nid(user_id),
            sender_nid,
            event_nid,
            membership,
            is_local,
            forgotten=is_local and self.forgets(membership),
        )

    def forgets(self, membership: Membership) -> bool:
        """Whether users of ours whose membership becomes this have forgotten the room thereby.

        Source: MSC4267.
        """
        return self._forgets_left_rooms and membership in LEFT

    async def redaction(self, room: LiveRoom, pdu: Pdu) -> RedactionEffect | None:
        """What a redaction does to its target; None for any other event."""
        if pdu.type != REDACTION or pdu.redacts is None:
            return None
        target = await self._find_target(room, pdu.redacts)
        if target is None or not may_redact(pdu, target.pdu.sender, room.power):
            return RedactionEffect(pdu.redacts, None, None)
        fields = decode_event(target.pdu.encoded, room.version)
        redacted = encode_for(redact(fields, room.version), room.version)
        entry = room.state.get(target.pdu.state_place) if target.pdu.is_state else None
        if entry is not None and entry.event_nid == target.event_nid:
            event = parse_stored_pdu(redacted, room.version, target.pdu.event_id, room.room_id)
            room.set_entry(target.pdu.state_place, StateEntry(target.event_nid, event))
        return RedactionEffect(pdu.redacts, target.event_nid, redacted)

    async def _find_target(self, room: LiveRoom, redacts: str) -> Known | None:
        events = await RoomEvents(self._db, room).by_id([EventId(redacts)])
        return events.get(EventId(redacts))


def move_on(room: LiveRoom, pdu: Pdu, event: StoredEvent, auth_nids: Sequence[int]) -> None:
    """Put the live room behind an event, which is its only forward extremity from now on."""
    room.revision += 1
    room.max_depth = max(room.max_depth, pdu.depth)
    room.extremities = {event.event_nid: pdu.event_id}
    room.ahead.add(Known(event.event_nid, Standing.ACCEPTED, event.snapshot_nid, pdu), auth_nids)
    if room.version.event_format is EventFormat.V1:
        room.tip_fields = {pdu.event_id: event.fields}


def find_relation(content: Mapping[str, Any]) -> Relation | None:
    """What `m.relates_to` of an event's content says, if it is well-formed.

    Source: client-server API, "Forming relationships between events".
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, Mapping):
        return None
    rel_type, parent = relates_to.get("rel_type"), relates_to.get("event_id")
    if not isinstance(rel_type, str) or not isinstance(parent, str):
        return None
    if max(len(rel_type), len(parent)) > MAX_RELATION_BYTES or "\0" in rel_type + parent:
        return None
    key = relates_to.get("key")
    usable_key = isinstance(key, str) and "\0" not in key
    return Relation(rel_type, parent, str(key)[:MAX_RELATION_BYTES] if usable_key else None)
