"""Entering a room that other servers hold: its state as a server in it tells it, then our join.

The whole answer is checked before anything is stored: signatures and hashes in one batch, then
each event against its own auth events. All of it is stored in one commit, with the join as the
first event of the room's timeline here.
Source: server-server API, "Joining Rooms", `PUT /send_join`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.auth_rules.general import check_auth
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed, BadState
from federation.protocol.event_rendering import decode_event
from federation.protocol.identifiers import EventId, RoomId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import RoomVersion
from homeserver.rooms.append import MEMBER, Append, find_relation
from homeserver.rooms.aside import aside
from homeserver.rooms.live import Known, LiveRooms
from homeserver.rooms.outliers import judge
from homeserver.rooms.remote_events import Fields, Signatures
from homeserver.rooms.verified import in_order, verify_events
from storage.add_events import AddEvent, HeadMove, RoomMoved
from storage.changes import Membership, Standing, StoredEvent
from storage.committer import Committer, Write
from storage.current_state import StateChange
from storage.database import Database
from storage.events import find_events
from storage.memberships import MemberChange
from storage.names import Names
from storage.nids import Nids
from storage.room_state import REMOVED, NewSnapshot, derive_snapshot
from storage.rooms import AddRoom, take_room_nid

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a server in the room answered to our join."""

    join: Pdu
    state: Sequence[Fields]
    auth_chain: Sequence[Fields]


@dataclass(frozen=True, slots=True)
class Checked:
    """The events of an answer that hold, with their numbers, and the state among them."""

    events: Mapping[EventId, Known]
    new: Sequence[Pdu]
    state: Mapping[StateKey, Known]


SELECT_ROOM_HEAD = """
    SELECT r.room_nid, h.revision, h.forward_extremities, h.max_depth
      FROM rooms AS r
      JOIN room_heads AS h USING (room_nid)
     WHERE r.room_id = $1
"""


class Entering:
    """Puts rooms of other servers into our database."""

    def __init__(
        self,
        db: Database,
        names: Names,
        nids: Nids,
        live: LiveRooms,
        committer: Committer,
        append: Append,
        signatures: Signatures,
    ) -> None:
        self._db = db
        self._names = names
        self._nids = nids
        self._live = live
        self._committer = committer
        self._append = append
        self._signatures = signatures

    async def enter(self, room_id: RoomId, version: RoomVersion, welcome: Welcome) -> None:
        """Store the room and the join; the user is in the room when this returns.

        Raises `BadState` when the answer does not hold: no create event of this room and its
        version, or a state and auth events that do not allow the join.
        """
        checked = await self._check(room_id, version, welcome)
        for _ in range(ATTEMPTS):
            try:
                await self._store(room_id, version, welcome.join, checked)
            except RoomMoved:
                continue
            finally:
                self._live.drop_id(room_id)
            return
        raise BadState("The room moves on too fast to be entered")

    async def _check(self, room_id: RoomId, version: RoomVersion, welcome: Welcome) -> Checked:
        everything = [*welcome.auth_chain, *welcome.state]
        verified = await verify_events(self._signatures, everything, room_id, version)
        pdus = await aside(lambda: in_order(verified.pdus), len(verified.pdus))
        stored = await find_events(self._db, verified.pdus)
        room = await self._names.rooms.find(room_id)
        if any(room is None or row.room_nid != room.room_nid for row in stored.values()):
            raise BadState("The answer has events of another room")
        numbers = await self._nids.events.take(len(pdus))
        create = self._create_of(version, pdus)
        events = await aside(lambda: judge_all(pdus, stored, numbers, create), len(pdus))
        new = [pdu for pdu in pdus if pdu.event_id in events and pdu.event_id not in stored]
        of_state = {id(fields) for fields in welcome.state}
        state_ids = [i for i, fields in verified.told.items() if id(fields) in of_state]
        state = self._state_of(state_ids, events)
        self._check_join(welcome.join, state, events, create)
        return Checked(events, new, state)

    @staticmethod
    def _create_of(version: RoomVersion, pdus: Sequence[Pdu]) -> Pdu:
        """The create event among those that hold. Raises `BadState`."""
        create = next((p for p in pdus if p.type == "m.room.create"), None)
        if create is None:
            raise BadState("The room has no create event that holds")
        if create.content.get("room_version", "1") != version.id:
            raise BadState(f"The room is not of version {version.id}")
        return create

    @staticmethod
    def _state_of(
        event_ids: Iterable[EventId], events: Mapping[EventId, Known]
    ) -> dict[StateKey, Known]:
        state = {}
        for event_id in event_ids:
            known = events.get(event_id)
            if known is not None and known.pdu.is_state and known.standing != Standing.REJECTED:
                state[known.pdu.state_place] = known
        return state

    @staticmethod
    def _check_join(
        join: Pdu,
        state: Mapping[StateKey, Known],
        events: Mapping[EventId, Known],
        create: Pdu,
    ) -> None:
        entries = {place: known.pdu for place, known in state.items()}
        try:
            check_auth(join, AuthState(entries, create=create))
        except AuthRuleFailed as error:
            raise BadState(f"The room's state does not allow the join: {error}") from error
        if judge(join, events, create) is not Standing.OUTLIER:
            raise BadState("The events that are said to vouch for the join do not")

    async def _store(
        self, room_id: RoomId, version: RoomVersion, join: Pdu, checked: Checked
    ) -> None:
        writes: list[Write] = []
        head = await self._db.fetchrow(SELECT_ROOM_HEAD, room_id)
        if head is None:
            room_nid, revision, ends, depth = await take_room_nid(self._db), 0, (), 0
            writes.append(
                AddRoom(room_nid, room_id, version.id, None, join.origin_server_ts, published=False)
            )
        else:
            room_nid, revision, ends, depth = head
        places = await self._names.places.get_nids([*checked.state, join.state_place])
        writes += await self._outliers(room_nid, version, checked)
        before = {places[place]: known.event_nid for place, known in checked.state.items()}
        (join_nid,) = await self._nids.events.take()
        after = {**before, places[join.state_place]: join_nid}
        snapshot = await self._snapshot(room_nid, after)
        writes.append(snapshot)
        former = await self._former_state(room_nid) if head is not None else {}
        changes = {p: e for p, e in after.items() if former.get(p) != e}
        changes |= {p: REMOVED for p in former if p not in after}
        stored = await self._row(join_nid, room_nid, version, join, snapshot, places, before)
        followed = {
            i: row
            for i, row in (await find_events(self._db, join.prev_events)).items()
            if row.room_nid == room_nid and row.snapshot_nid is not None
        }
        writes.append(
            AddEvent(
                stored,
                await self._names.types.get_nid(join.type),
                join.origin_server_ts,
                tuple(row.event_nid for row in followed.values()),
                tuple(checked.events[i].event_nid for i in join.auth_events if i in checked.events),
                HeadMove(
                    revision,
                    tuple(ends),
                    snapshot.snapshot.snapshot_nid,
                    max(depth, join.depth),
                    (join_nid,),
                ),
                await self._state_changes(changes),
                await self._members(checked, join, join_nid),
                find_relation(join.content),
                is_distributed=True,
                missing_prev=tuple(i for i in join.prev_events if i not in followed),
            )
        )
        await self._committer.commit(*writes)

    async def _outliers(
        self, room_nid: int, version: RoomVersion, checked: Checked
    ) -> list[AddEvent]:
        users = await self._names.users.get_nids({pdu.sender for pdu in checked.new})
        types = await self._names.types.get_nids({pdu.type for pdu in checked.new})
        places = await self._names.places.get_nids(
            {pdu.state_place for pdu in checked.new if pdu.is_state}
        )

        def build(pdu: Pdu) -> AddEvent:
            known = checked.events[pdu.event_id]
            stored = StoredEvent(
                known.event_nid,
                None,
                pdu.depth,
                room_nid,
                users[pdu.sender],
                places[pdu.state_place] if pdu.is_state else None,
                None,
                None,
                None,
                known.standing,
                pdu.event_id,
                pdu.encoded,
                decode_event(pdu.encoded, version),
            )
            cited = (checked.events[i].event_nid for i in pdu.auth_events if i in checked.events)
            return AddEvent(stored, types[pdu.type], pdu.origin_server_ts, (), tuple(cited))

        return await aside(lambda: [build(pdu) for pdu in checked.new], len(checked.new))

    async def _row(
        self,
        join_nid: int,
        room_nid: int,
        version: RoomVersion,
        join: Pdu,
        snapshot: NewSnapshot,
        places: Mapping[StateKey, int],
        before: Mapping[int, int],
    ) -> StoredEvent:
        place_nid = places[join.state_place]
        return StoredEvent(
            join_nid,
            None,
            join.depth,
            room_nid,
            await self._names.users.get_nid(join.sender),
            place_nid,
            snapshot.snapshot.snapshot_nid,
            before.get(place_nid),
            None,
            Standing.ACCEPTED,
            join.event_id,
            join.encoded,
            decode_event(join.encoded, version),
        )

    async def _snapshot(self, room_nid: int, state: Mapping[int, int]) -> NewSnapshot:
        (snapshot_nid,) = await self._nids.snapshots.take()
        return derive_snapshot(None, state, (), snapshot_nid, room_nid)

    async def _former_state(self, room_nid: int) -> dict[int, int]:
        return dict(await self._db.fetch(SELECT_FORMER, room_nid))

    async def _state_changes(self, changes: Mapping[int, int]) -> tuple[StateChange, ...]:
        places = await self._names.places.get_places(changes)
        return tuple(
            StateChange(nid, event, is_member=places[nid][0] == MEMBER)
            for nid, event in changes.items()
        )

    async def _members(
        self, checked: Checked, join: Pdu, join_nid: int
    ) -> tuple[MemberChange, ...]:
        found = {
            str(known.pdu.state_key): (known.event_nid, known.pdu)
            for place, known in checked.state.items()
            if place[0] == MEMBER
        }
        found[str(join.state_key)] = (join_nid, join)
        everyone = set(found) | {pdu.sender for _, pdu in found.values()}
        users = await self._names.users.get_nids(everyone)
        return tuple(
            MemberChange(
                users[user_id],
                users[pdu.sender],
                event_nid,
                membership := Membership.of(str(pdu.content["membership"])),
                is_local := self._append.is_ours(user_id),
                forgotten=is_local and self._append.forgets(membership),
            )
            for user_id, (event_nid, pdu) in found.items()
        )


def judge_all(
    pdus: Sequence[Pdu], stored: Mapping[str, StoredEvent], numbers: Sequence[int], create: Pdu
) -> dict[EventId, Known]:
    """The events in order, each judged by those before it; what cannot be judged is left out."""
    events: dict[EventId, Known] = {}
    for number, pdu in zip(numbers, pdus, strict=True):
        row = stored.get(pdu.event_id)
        if row is not None:
            standing = Standing(row.standing)
            events[pdu.event_id] = Known(row.event_nid, standing, row.snapshot_nid, pdu)
        elif (judged := judge(pdu, events, create)) is not None:
            events[pdu.event_id] = Known(number, judged, None, pdu)
    return events


SELECT_FORMER = "SELECT place_nid, event_nid FROM current_state WHERE room_nid = $1"
