"""Which other servers are in a room: now, and in an earlier state of it.

What is known of a room goes with the number of its state, which is read again each time: so
nothing has to be forgotten when rooms change, whichever process or state resolution changes them.
Rooms that never had a user of another server are the exception. They are most rooms of most
servers, so they cost no reading until a change of another server's user is heard of. Servers in an
earlier state are worked out from what lies between it and the present.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.protocol.identifiers import ServerName, server_of
from storage.cache import Cache
from storage.changes import Change, EventAdded, StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.participants import Participants, head_snapshots, participants
from storage.room_state import find_changes, get_places_at

MEMBER = "m.room.member"
ROOM_COST = 400
SERVER_COST = 120

NOBODY: frozenset[ServerName] = frozenset()


@dataclass(frozen=True, slots=True)
class Room:
    """A room in one state: how many users of each other server are in it, and which these are."""

    state: Participants
    servers: frozenset[ServerName] = field(default=NOBODY)

    @property
    def is_ours_alone(self) -> bool:
        """Whether no other server's user was ever in the room, or invited to it."""
        return not self.state.joined


class RoomServers:
    """Tells the other servers of rooms."""

    def __init__(self, db: Database, names: Names, server_name: ServerName, max_bytes: int) -> None:
        self._db = db
        self._names = names
        self._server_name = server_name
        self._rooms: Cache[int, Room] = Cache(max_bytes // 2)
        self._earlier: Cache[int, frozenset[ServerName]] = Cache(max_bytes // 2)
        self._changes = 0

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what was committed: a room may be ours alone no longer."""
        for change in changes:
            if isinstance(change, EventAdded) and self._is_of_others(change):
                self._changes += 1
                self._rooms.discard(change.event.room_nid)

    async def now(self, room_nids: Iterable[int]) -> dict[int, frozenset[ServerName]]:
        """The other servers in rooms as they stand."""
        rooms = await self._get_rooms(set(room_nids))
        return {room_nid: room.servers for room_nid, room in rooms.items()}

    async def joined(self, room_nids: Iterable[int]) -> dict[int, Mapping[ServerName, int]]:
        """How many users of each server are in rooms as they stand."""
        rooms = await self._get_rooms(set(room_nids))
        return {room_nid: room.state.joined for room_nid, room in rooms.items()}

    async def destinations(self, events: Sequence[StoredEvent]) -> list[set[ServerName]]:
        """For each event the other servers that have to get it from this one.

        These are the servers in the room after the event, and the one of a user who is turned out
        by it: that server was in the room before, or has an invite or knock to strike off. Not the
        server that made the event.
        """
        servers = await self._at([(event.room_nid, event.snapshot_nid) for event in events])
        return [
            {*servers[event.room_nid, event.snapshot_nid], *turned_out(event)}
            - {self._server_name, *makers(event)}
            for event in events
        ]

    async def _at(
        self, states: Iterable[tuple[int, int | None]]
    ) -> dict[tuple[int, int | None], frozenset[ServerName]]:
        """The other servers in states of rooms, each given by room and snapshot."""
        wanted = set(states)
        rooms = await self._get_rooms({room_nid for room_nid, _ in wanted})
        found: dict[tuple[int, int | None], frozenset[ServerName]] = {}
        unknown: dict[int, Participants] = {}
        for room_nid, snapshot_nid in wanted:
            room = rooms.get(room_nid)
            if room is None or room.is_ours_alone or snapshot_nid is None:
                found[room_nid, snapshot_nid] = NOBODY
            elif snapshot_nid == room.state.snapshot_nid:
                found[room_nid, snapshot_nid] = room.servers
            elif (known := self._earlier.get(snapshot_nid)) is not None:
                found[room_nid, snapshot_nid] = known
            else:
                unknown[snapshot_nid] = room.state
        earlier = await self._work_out(unknown) if unknown else {}
        return {
            (room_nid, snapshot_nid): found.get((room_nid, snapshot_nid))
            or earlier.get(snapshot_nid or 0, NOBODY)
            for room_nid, snapshot_nid in wanted
        }

    async def _get_rooms(self, room_nids: set[int]) -> dict[int, Room]:
        """The rooms as they stand; those that are not here are left out."""
        known = {nid: room for nid in room_nids if (room := self._rooms.get(nid)) is not None}
        shared = [nid for nid, room in known.items() if not room.is_ours_alone]
        heads = await head_snapshots(self._db, shared) if shared else {}
        for nid in shared:
            if heads.get(nid) != known[nid].state.snapshot_nid:
                del known[nid]
        missing = room_nids - known.keys()
        if not missing:
            return known
        changes = self._changes
        for nid, state in (await participants(self._db, missing)).items():
            joined = frozenset(server for server, users in state.joined.items() if users)
            room = known[nid] = Room(state, joined - {self._server_name})
            # What was heard while reading may be later than what was read.
            if not room.is_ours_alone or changes == self._changes:
                self._rooms.put(nid, room, ROOM_COST + SERVER_COST * len(state.joined))
        return known

    async def _work_out(
        self, states: Mapping[int, Participants]
    ) -> dict[int, frozenset[ServerName]]:
        """The servers in earlier states, given by snapshot with the present state of the room."""
        pairs = {nid: (now.snapshot_nid, nid) for nid, now in states.items()}
        then = await find_changes(self._db, pairs)
        places = await self._names.places.get_places({p for c in then.values() for p in c})
        members = {nid: server_of(key) for nid, (kind, key) in places.items() if kind == MEMBER}
        present = {nid for now in states.values() if (nid := now.snapshot_nid) is not None}
        now_at = await get_places_at(self._db, present, members) if members else {}
        joins = await self._joins([*then.values(), *now_at.values()], members)
        found: dict[int, frozenset[ServerName]] = {}
        for snapshot_nid, now in states.items():
            joined = dict(now.joined)
            events_now = now_at.get(now.snapshot_nid or 0, {})
            for place, event in then[snapshot_nid].items():
                if place in members:
                    server = ServerName(members[place])
                    gone = (event in joins) - (events_now.get(place) in joins)
                    joined[server] = joined.get(server, 0) + gone
            servers = frozenset(s for s, users in joined.items() if users) - {self._server_name}
            found[snapshot_nid] = servers
            self._earlier.put(snapshot_nid, servers, ROOM_COST + SERVER_COST * len(servers))
        return found

    async def _joins(
        self, states: Iterable[Mapping[int, int]], members: Mapping[int, str]
    ) -> set[int | None]:
        """Which of the events at these places of the states are joins."""
        nids = {event for state in states for place, event in state.items() if place in members}
        events = await get_events(self._db, nids)
        return {nid for nid, event in events.items() if event.content.get("membership") == "join"}

    def _is_of_others(self, change: EventAdded) -> bool:
        if change.member_nid is not None and not change.is_local_member:
            return True
        return server_of(change.event.sender) != self._server_name


def makers(event: StoredEvent) -> set[ServerName]:
    """The server of an event's sender, unless the event was made elsewhere in the sender's name.

    So are invites that follow from third-party invites.
    """
    server = server_of(event.sender)
    is_redeemed = event.type == MEMBER and "third_party_invite" in event.content
    return set() if is_redeemed and server not in event.fields["signatures"] else {server}


def turned_out(event: StoredEvent) -> set[ServerName]:
    """The server of the user who is turned out by an event, if there is one."""
    if event.type != MEMBER or event.content.get("membership") not in ("leave", "ban"):
        return set()
    return {server_of(str(event.state_key))}
