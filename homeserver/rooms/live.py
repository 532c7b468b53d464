"""Rooms as this process knows them at the moment: head and the state that rules ask for.

A live room runs ahead of the database: an event that was handed to the committer already counts,
so that the next one can build on it and both share a commit. Nothing here is authoritative. If a
commit fails or another process moves the room, the live room is stale: it is dropped, and whoever
was about to use it loads it again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from federation.protocol.auth_events import CREATE, POWER_LEVELS
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import NotFound
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId, RoomId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.policy_server import POLICY
from federation.protocol.power_levels import PowerLevels
from federation.protocol.room_versions import RoomVersion, get_room_version
from homeserver.rooms.turns import Turns
from storage.cache import Cache
from storage.database import Database
from storage.events import get_event_ids
from storage.names import Names, RoomName
from storage.room_state import NewSnapshot, Snapshot
from storage.state_layers import StateLayers

ROOM_COST = 8_000
"""Bytes that a live room with the state of a conversation takes, as measured."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """An event of the current state and its number."""

    event_nid: int
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Known:
    """An event as others refer to it; `snapshot_nid` is the state after it, None for an outlier."""

    event_nid: int
    standing: int
    snapshot_nid: int | None
    pdu: Pdu


@dataclass(slots=True)
class Staged:
    """What goes to the committer together: numbers of events and of snapshots."""

    events: list[int] = field(default_factory=list)
    snapshots: list[int] = field(default_factory=list)


class Ahead:
    """What a room has staged and may not be in the database yet."""

    __slots__ = ("_staged", "by_id", "by_nid", "edges")

    def __init__(self) -> None:
        self.by_id: dict[EventId, Known] = {}
        self.by_nid: dict[int, Known] = {}
        self.edges: dict[int, Sequence[int]] = {}
        """By event, the auth events."""
        self._staged = Staged()

    def add(self, known: Known, auth_nids: Sequence[int]) -> None:
        """An event is on its way to the database."""
        self.by_id[known.pdu.event_id] = known
        self.by_nid[known.event_nid] = known
        self.edges[known.event_nid] = auth_nids
        self._staged.events.append(known.event_nid)

    def add_snapshot(self, snapshot_nid: int) -> None:
        """A snapshot is on its way to the database."""
        self._staged.snapshots.append(snapshot_nid)

    def take_staged(self) -> Staged:
        """What was added since the last call; it is handed to the committer now."""
        staged, self._staged = self._staged, Staged()
        return staged

    def forget(self, staged: Staged) -> None:
        """What was handed to the committer together is in the database."""
        for event_nid in staged.events:
            known = self.by_nid.pop(event_nid, None)
            self.edges.pop(event_nid, None)
            if known is not None:
                self.by_id.pop(known.pdu.event_id, None)


class LiveRoom:
    """A room's head and the known part of its current state. Hold `lock` while using either."""

    __slots__ = (
        "_power",
        "ahead",
        "create",
        "extremities",
        "is_stale",
        "lock",
        "max_depth",
        "revision",
        "room_id",
        "room_nid",
        "snapshot",
        "state",
        "tip_fields",
        "version",
    )

    def __init__(self, name: RoomName) -> None:
        self.room_nid = name.room_nid
        self.room_id: RoomId = name.room_id
        self.version: RoomVersion = get_room_version(name.version_id)
        self.lock = asyncio.Lock()
        self.revision = 0
        self.max_depth = 0
        self.extremities: dict[int, EventId] = {}
        self.snapshot: Snapshot | None = None
        self.state: dict[StateKey, StateEntry | None] = {}
        self.ahead = Ahead()
        self.tip_fields: dict[EventId, Mapping[str, Any]] = {}
        """In room versions 1 and 2: the newest event, whose hash the next one carries."""
        self.is_stale = False
        self._power: PowerLevels | None = None

    def set_entry(self, place: StateKey, entry: StateEntry | None) -> None:
        """The current state has a new event at a place."""
        self.state[place] = entry
        if place in (POWER_LEVELS, CREATE):
            self._power = None

    def forget_entry(self, place: StateKey) -> None:
        """The current state has something else at a place, to be loaded when it is asked for."""
        self.state.pop(place, None)
        self._power = None

    def auth_state(self, places: Iterable[StateKey]) -> AuthState:
        """The loaded places as the authorisation rules want them."""
        events = {place: entry.pdu for place in places if (entry := self.state.get(place))}
        create = self.state.get(CREATE)
        return AuthState(events, create=create.pdu if create else None, power=self.power)

    @property
    def power(self) -> PowerLevels | None:
        """The power levels in force, from the loaded places; None before the create event."""
        create = self.state.get(CREATE)
        if self._power is None and create is not None:
            levels = self.state.get(POWER_LEVELS)
            self._power = PowerLevels(levels.pdu.content if levels else None, create.pdu)
        return self._power


SELECT_HEAD = """
    SELECT revision, snapshot_nid, max_depth, forward_extremities
      FROM room_heads
     WHERE room_nid = $1
"""

SELECT_ENTRIES = """
    SELECT wanted.type, wanted.state_key, s.event_nid, e.event_id, e.json
      FROM unnest($2::text[], $3::text[]) AS wanted (type, state_key)
      JOIN event_types AS t ON t.type = wanted.type
     CROSS JOIN LATERAL (
           SELECT place_nid
             FROM state_places
            WHERE type_nid = t.type_nid AND state_key = wanted.state_key
           OFFSET 0) AS p
      JOIN current_state AS s ON s.room_nid = $1 AND s.place_nid = p.place_nid
      JOIN events AS e ON e.event_nid = s.event_nid
"""

ALWAYS_LOADED: tuple[StateKey, ...] = (CREATE, POWER_LEVELS, POLICY)


class LiveRooms:
    """The live rooms of this process, bounded; the least recently used are loaded again."""

    def __init__(self, db: Database, names: Names, layers: StateLayers, max_bytes: int) -> None:
        self._db = db
        self._names = names
        self._layers = layers
        self._rooms: Cache[str, LiveRoom] = Cache(max_bytes)
        self._loading = Turns[str]()

    async def get(self, room_id: str) -> LiveRoom:
        """The room, loaded if it has to be. Raises `NotFound`."""
        room = self._rooms.get(room_id)
        if room is not None and not room.is_stale:
            return room
        async with self._loading.of(room_id):
            room = self._rooms.get(room_id)
            if room is None or room.is_stale:
                room = await self._load(room_id)
                self._rooms.put(room_id, room, ROOM_COST)
        return room

    @asynccontextmanager
    async def reloaded(self, room_id: str) -> AsyncIterator[LiveRoom]:
        """The room as the database has it, locked before anybody else can use it.

        Raises `NotFound`.
        """
        async with self._loading.of(room_id):
            room = await self._load(room_id)
            await room.lock.acquire()
            self.drop_id(room_id)
            self._rooms.put(room_id, room, ROOM_COST)
        try:
            yield room
        finally:
            room.lock.release()

    def add(self, name: RoomName) -> LiveRoom:
        """A room that is about to be created."""
        room = LiveRoom(name)
        self._rooms.put(name.room_id, room, ROOM_COST)
        return room

    def drop(self, room: LiveRoom) -> None:
        """The room is not what it seemed to be; the next user loads it again."""
        room.is_stale = True
        self._layers.release(room.ahead.take_staged().snapshots, are_stored=False)
        if self._rooms.get(room.room_id) is room:
            self._rooms.discard(room.room_id)

    def drop_id(self, room_id: str) -> None:
        """Another process has moved the room."""
        room = self._rooms.get(room_id)
        if room is not None:
            self.drop(room)

    async def _load(self, room_id: str) -> LiveRoom:
        name = await self._names.rooms.find(room_id)
        if name is None:
            raise NotFound(f"There is no room {room_id} here")
        head = await self._db.fetchrow(SELECT_HEAD, name.room_nid)
        # A room that a user was only invited to has a head without a state.
        if head is None or head[1] is None:
            raise NotFound(f"There is no room {room_id} here")
        room = LiveRoom(name)
        room.revision, snapshot_nid, room.max_depth, extremities = head
        ids = await get_event_ids(self._db, extremities)
        room.extremities = {nid: EventId(ids[nid]) for nid in extremities}
        if snapshot_nid is not None:
            room.snapshot = await self._layers.snapshot(snapshot_nid)
        await self.load_entries(room, ALWAYS_LOADED)
        return room

    async def load_entries(self, room: LiveRoom, places: Iterable[StateKey]) -> None:
        """See to it that these places of the current state are known to the live room."""
        missing = [place for place in places if place not in room.state]
        if not missing:
            return
        rows = await self._db.fetch(
            SELECT_ENTRIES, room.room_nid, [p[0] for p in missing], [p[1] for p in missing]
        )
        for place in missing:
            room.set_entry(place, None)
        for event_type, state_key, event_nid, event_id, encoded in rows:
            pdu = parse_stored_pdu(encoded, room.version, EventId(event_id), room.room_id)
            room.set_entry((event_type, state_key), StateEntry(event_nid, pdu))

    def hold(self, room: LiveRoom, new: NewSnapshot) -> None:
        """A snapshot of the room is on its way to the database."""
        room.ahead.add_snapshot(new.snapshot.snapshot_nid)
        self._layers.hold(new)

    def settle(self, room: LiveRoom, staged: Staged, *, are_stored: bool) -> None:
        """What was handed to the committer together is in the database, or never will be."""
        self._layers.release(staged.snapshots, are_stored=are_stored)
        if are_stored:
            room.ahead.forget(staged)
        else:
            self.drop(room)
