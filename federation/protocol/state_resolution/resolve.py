"""State resolution: one state from the states after several events.

A caller with states that differ
1. finds out where, with `split_conflicted`; if nothing is in conflict there is nothing to do;
2. gathers, over its own edges, the auth difference (`find_auth_difference`) and for version 2.1
   the conflicted state subgraph (`find_conflicted_subgraph`);
3. drives `resolve`: a generator that yields the IDs of events it needs, is sent them as `Loaded`,
   and returns the resolved state.

    resolution = resolve(room_version, states, auth_difference, subgraph)
    try:
        wanted = next(resolution)
        while True:
            wanted = resolution.send(Loaded(await events_by_id(wanted), rejected=...))
    except StopIteration as done:
        return done.value

Source: server-server API, "Room State Resolution".
"""

from collections.abc import Collection, Mapping, Sequence, Set

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import RoomVersion, StateResolution
from federation.protocol.state_resolution.known_events import Loaded, Resolution
from federation.protocol.state_resolution.v1 import resolve_v1
from federation.protocol.state_resolution.v2 import resolve_v2

StateSets = Sequence[Mapping[StateKey, EventId]]


def resolve(
    room_version: RoomVersion,
    state_sets: StateSets,
    auth_difference: Set[EventId] = frozenset(),
    conflicted_subgraph: Set[EventId] = frozenset(),
) -> Resolution:
    """Resolve states by the algorithm of the room version.

    Version 1 does not look at the last two arguments, version 2 not at the last one.
    """
    match room_version.state_resolution:
        case StateResolution.V1:
            return resolve_v1(state_sets)
        case StateResolution.V2:
            return resolve_v2(state_sets, auth_difference, start_from_nothing=False)
        case StateResolution.V2_1:
            added = auth_difference | conflicted_subgraph
            return resolve_v2(state_sets, added, start_from_nothing=True)


def resolve_among(
    events: Mapping[EventId, Pdu], resolution: Resolution, rejected: Collection[EventId] = ()
) -> dict[StateKey, EventId]:
    """Drive a resolution from events that are all at hand."""
    try:
        wanted = next(resolution)
        while True:
            found = {event_id: events[event_id] for event_id in wanted if event_id in events}
            wanted = resolution.send(Loaded(found, rejected))
    except StopIteration as done:
        resolved: dict[StateKey, EventId] = done.value
        return resolved
