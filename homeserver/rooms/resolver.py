"""State resolution over the database: states in, one state out.

States are maps of integers (place -> event). Of the events only those are read that the
algorithm asks for: what is in conflict, the auth difference, and the few that speak for them.
"""

from collections.abc import Iterable, Mapping, Sequence

from federation.protocol.auth_events import auth_event_places
from federation.protocol.event_format import parse_stored_pdu
from federation.protocol.identifiers import EventId, RoomId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import RoomVersion, StateResolution
from federation.protocol.state_resolution.conflicted import (
    SplitState,
    find_auth_difference,
    find_conflicted_subgraph,
    split_conflicted,
)
from federation.protocol.state_resolution.known_events import Loaded
from federation.protocol.state_resolution.resolve import resolve
from storage.auth_edges import get_auth_edges
from storage.changes import Standing, StoredEvent
from storage.database import Database
from storage.events import find_events, get_events
from storage.names import Names

StateMap = Mapping[int, int]
"""A state in numbers: place -> event."""


class Resolver:
    """Resolves the states of one room, some of whose events may not be stored yet."""

    def __init__(self, db: Database, names: Names, room_id: RoomId, version: RoomVersion) -> None:
        self._db = db
        self._names = names
        self._room_id = room_id
        self._version = version
        self._pdus: dict[int, Pdu] = {}
        self._nids: dict[EventId, int] = {}
        self._rejected: set[EventId] = set()
        self._edges: dict[int, list[int]] = {}

    def add(self, event_nid: int, pdu: Pdu, auth_nids: Sequence[int]) -> None:
        """Make known an event that is about to be stored."""
        self._pdus[event_nid] = pdu
        self._nids[pdu.event_id] = event_nid
        self._edges[event_nid] = list(auth_nids)

    async def resolve(self, states: Sequence[StateMap]) -> dict[int, int]:
        """The state that the room's version makes of several."""
        versions_1 = self._version.state_resolution is StateResolution.V1
        split = split_conflicted(states, absence_conflicts=not versions_1)
        if not split.conflicted:
            return dict(split.unconflicted)
        difference, subgraph = await self._differences(states, split)
        await self._load(split.conflicted_events | difference | subgraph)
        shared = await self._shared(split, difference | subgraph)
        sets = [
            await self._named({p: e for p, e in s.items() if p in split.conflicted} | shared)
            for s in states
        ]
        resolved = await self._drive(sets, difference, subgraph)
        return split.unconflicted | {
            place: event for place, event in resolved.items() if place in split.conflicted
        }

    async def _differences(
        self, states: Sequence[StateMap], split: SplitState[int, int]
    ) -> tuple[set[int], set[int]]:
        """The auth difference and the conflicted state subgraph, as the version needs them."""
        if self._version.state_resolution is StateResolution.V1:
            return set(), set()
        everything = {event for state in states for event in state.values()}
        unstored = {nid for nid in everything if nid in self._edges}
        start = everything | {a for nid in unstored for a in self._edges[nid]}
        edges = await get_auth_edges(self._db, start) | self._edges
        difference = find_auth_difference([state.values() for state in states], edges)
        if self._version.state_resolution is StateResolution.V2:
            return difference, set()
        return difference, find_conflicted_subgraph(split.conflicted_events, edges)

    async def _shared(self, split: SplitState[int, int], others: Iterable[int]) -> dict[int, int]:
        """The undisputed events that the rules may ask for while conflicted ones are checked."""
        places = {
            place
            for nid in split.conflicted_events | set(others)
            if (pdu := self._pdus.get(nid)) is not None
            for place in auth_event_places(
                pdu.type, pdu.state_key, pdu.sender, pdu.content, self._version
            )
        }
        places.add(("m.room.create", ""))
        found = await self._names.places.find_nids(places)
        shared = {p: split.unconflicted[p] for p in found.values() if p in split.unconflicted}
        await self._load(shared.values())
        return shared

    async def _drive(
        self,
        sets: Sequence[Mapping[tuple[str, str], EventId]],
        difference: Iterable[int],
        subgraph: Iterable[int],
    ) -> dict[int, int]:
        resolution = resolve(
            self._version,
            sets,
            {self._pdus[nid].event_id for nid in difference if nid in self._pdus},
            {self._pdus[nid].event_id for nid in subgraph if nid in self._pdus},
        )
        try:
            wanted = next(resolution)
            while True:
                await self._load_ids(wanted)
                found = {
                    event_id: self._pdus[self._nids[event_id]]
                    for event_id in wanted
                    if event_id in self._nids
                }
                wanted = resolution.send(Loaded(found, self._rejected))
        except StopIteration as done:
            resolved: Mapping[tuple[str, str], EventId] = done.value
        places = await self._names.places.get_nids(resolved)
        return {places[place]: self._nids[event_id] for place, event_id in resolved.items()}

    async def _named(self, state: StateMap) -> dict[tuple[str, str], EventId]:
        await self._load(state.values())
        places = await self._names.places.get_places(state)
        return {places[place]: self._pdus[nid].event_id for place, nid in state.items()}

    async def _load(self, event_nids: Iterable[int]) -> None:
        missing = set(event_nids) - self._pdus.keys()
        self._remember((await get_events(self._db, missing)).values())

    async def _load_ids(self, event_ids: Iterable[EventId]) -> None:
        missing = set(event_ids) - self._nids.keys()
        self._remember((await find_events(self._db, missing)).values())

    def _remember(self, events: Iterable[StoredEvent]) -> None:
        for event in events:
            event_id = EventId(event.event_id)
            pdu = parse_stored_pdu(event.json, self._version, event_id, self._room_id)
            self._pdus[event.event_nid] = pdu
            self._nids[event_id] = event.event_nid
            if event.standing == Standing.REJECTED:
                self._rejected.add(event_id)
