"""State resolution over the database: states in, one state out.

States are maps of integers (place -> event), and only as much of them as they differ in: what all
of them share is asked for place by place, where a rule wants it. Of the events only those are read
that the algorithm asks for: what is in conflict, the auth difference, and the few that speak for
them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.auth_events import auth_event_places
from federation.protocol.identifiers import EventId
from federation.protocol.room_versions import RoomVersion, StateResolution
from federation.protocol.state_resolution.conflicted import (
    SplitState,
    find_auth_difference,
    find_conflicted_subgraph,
    find_reachable,
    split_conflicted,
)
from federation.protocol.state_resolution.known_events import Loaded
from federation.protocol.state_resolution.resolve import resolve
from homeserver.rooms.live import LiveRoom
from homeserver.rooms.room_events import RoomEvents
from storage.auth_edges import AuthEdges, Edges, find_vouching
from storage.changes import Standing
from storage.database import Database
from storage.names import Names
from storage.room_state import REMOVED, Snapshot
from storage.state_layers import StateLayers

StateMap = Mapping[int, int]
"""A state in numbers: place -> event."""


@dataclass(frozen=True, slots=True)
class Undisputed:
    """What all states share beyond the maps that are resolved."""

    at: Callable[[Iterable[int]], Awaitable[StateMap]]
    """Looks places up."""
    whole: Callable[[], Awaitable[StateMap]]
    """Reads all of it, which is for the rare case that nothing less will do."""


class Resolver:
    """Resolves states of one room, some of whose events may not be stored yet."""

    def __init__(
        self, db: Database, names: Names, layers: StateLayers, edges: AuthEdges, room: LiveRoom
    ) -> None:
        self._db = db
        self._names = names
        self._layers = layers
        self._all_edges = edges
        self._version: RoomVersion = room.version
        self._room = room
        self.events = RoomEvents(db, room)

    async def resolve_snapshots(self, snapshots: Sequence[Snapshot]) -> tuple[int, dict[int, int]]:
        """Which of the states comes closest to what they resolve to, and what leads from it there.

        If the result is one of the states, nothing leads on from it. Otherwise it is the first.
        """
        compared = await self._layers.compare(snapshots)
        places = compared[0].keys()
        states = [{p: e for p, e in state.items() if e != REMOVED} for state in compared]

        async def at(wanted: Iterable[int]) -> StateMap:
            return await self._layers.at(snapshots[0], set(wanted) - places)

        async def whole() -> StateMap:
            state = await self._layers.whole(snapshots[0])
            return {p: e for p, e in state.items() if p not in places}

        resolved = await self.resolve(states, Undisputed(at, whole))
        for index, state in enumerate(states):
            if state == resolved:
                return index, {}
        first = states[0]
        changes = {p: e for p, e in resolved.items() if first.get(p) != e}
        return 0, changes | {p: REMOVED for p in first if p not in resolved}

    async def resolve(self, states: Sequence[StateMap], rest: Undisputed) -> dict[int, int]:
        """The state that the room's version makes of several.

        `rest` has what is the same in all of them; it stays out of the answer.
        """
        is_version_1 = self._version.state_resolution is StateResolution.V1
        split = split_conflicted(states, absence_conflicts=not is_version_1)
        if not split.conflicted:
            return dict(split.unconflicted)
        difference, subgraph = await self._differences(states, split, rest)
        shared = await self._shared(split, difference | subgraph, rest)
        sets = [
            await self._named({p: e for p, e in s.items() if p in split.conflicted} | shared)
            for s in states
        ]
        resolved = await self._drive(sets, difference, subgraph)
        return split.unconflicted | {
            place: event for place, event in resolved.items() if place in split.conflicted
        }

    async def _differences(
        self, states: Sequence[StateMap], split: SplitState[int, int], rest: Undisputed
    ) -> tuple[set[int], set[int]]:
        """The auth difference and the conflicted state subgraph, as the version needs them.

        Whatever vouches for conflicted events in some of the states only is the difference, but
        for what also vouches for undisputed ones: that is in the chains of all states.
        """
        if self._version.state_resolution is StateResolution.V1:
            return set(), set()
        unsaved = self._room.ahead.edges
        edges = await self._all_edges.reached(split.conflicted_events, unsaved)
        disputed = [{s[p] for p in split.conflicted if p in s} for s in states]
        difference = find_auth_difference(disputed, edges) - split.conflicted_events
        if difference:
            difference -= await self._undisputed_among(difference, split, rest, unsaved)
        difference |= split.conflicted_events
        if self._version.state_resolution is StateResolution.V2:
            return difference, set()
        return difference, find_conflicted_subgraph(split.conflicted_events, edges)

    async def _undisputed_among(
        self, difference: set[int], split: SplitState[int, int], rest: Undisputed, unsaved: Edges
    ) -> set[int]:
        """Those of the events that are undisputed state, or vouch for any.

        The few undisputed events that the rules ask for mostly settle it; only what they leave
        open takes a walk from the whole state.
        """
        await self.events.by_nid(difference | split.conflicted_events)
        near = await self._shared(split, difference, rest)
        own = await self._names.places.find_nids(
            known.pdu.state_place
            for known in (await self.events.by_nid(difference)).values()
            if known.pdu.is_state
        )
        near |= await self._at(split, own.values(), rest)
        reached = find_reachable(
            near.values(), await self._all_edges.reached(near.values(), unsaved)
        )
        found = difference & reached
        left = difference - found
        if left:
            undisputed = {*split.unconflicted.values(), *(await rest.whole()).values()}
            start = find_reachable(undisputed, unsaved)
            found |= left & start
            found |= await find_vouching(self._db, start - unsaved.keys(), left - start)
        return found

    async def _at(
        self, split: SplitState[int, int], places: Iterable[int], rest: Undisputed
    ) -> dict[int, int]:
        """The undisputed events at these places."""
        wanted = set(places) - split.conflicted.keys()
        known = {p: split.unconflicted[p] for p in wanted if p in split.unconflicted}
        return {**known, **await rest.at(wanted - known.keys())}

    async def _shared(
        self, split: SplitState[int, int], others: Iterable[int], rest: Undisputed
    ) -> dict[int, int]:
        """The undisputed events that the rules may ask for while conflicted ones are checked."""
        checked = await self.events.by_nid(split.conflicted_events | set(others))
        places = {
            place
            for known in checked.values()
            for place in auth_event_places(
                known.pdu.type,
                known.pdu.state_key,
                known.pdu.sender,
                known.pdu.content,
                self._version,
            )
        }
        places.add(("m.room.create", ""))
        found = await self._names.places.find_nids(places)
        return await self._at(split, found.values(), rest)

    async def _drive(
        self,
        sets: Sequence[Mapping[tuple[str, str], EventId]],
        difference: Iterable[int],
        subgraph: Iterable[int],
    ) -> dict[int, int]:
        nid_of: dict[EventId, int] = {}
        rejected: set[EventId] = set()

        async def ids(event_nids: Iterable[int]) -> set[EventId]:
            return {k.pdu.event_id for k in (await self.events.by_nid(event_nids)).values()}

        resolution = resolve(self._version, sets, await ids(difference), await ids(subgraph))
        try:
            wanted = next(resolution)
            while True:
                found = await self.events.by_id(wanted)
                nid_of |= {event_id: known.event_nid for event_id, known in found.items()}
                rejected |= {i for i, k in found.items() if k.standing == Standing.REJECTED}
                wanted = resolution.send(Loaded({i: k.pdu for i, k in found.items()}, rejected))
        except StopIteration as done:
            resolved: Mapping[tuple[str, str], EventId] = done.value
        nid_of |= {i: k.event_nid for i, k in (await self.events.by_id(resolved.values())).items()}
        places = await self._names.places.get_nids(resolved)
        return {places[place]: nid_of[event_id] for place, event_id in resolved.items()}

    async def _named(self, state: StateMap) -> dict[tuple[str, str], EventId]:
        known = await self.events.by_nid(state.values())
        places = await self._names.places.get_places(state)
        return {places[place]: known[nid].pdu.event_id for place, nid in state.items()}
