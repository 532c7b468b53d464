"""State resolution, algorithm version 1, of room version 1.

Source: room version 1, "State resolution".
"""

from collections.abc import Mapping, Sequence
from hashlib import sha1

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.state_resolution.conflicted import split_conflicted
from federation.protocol.state_resolution.iterative_auth import State, is_allowed, load_for_auth
from federation.protocol.state_resolution.known_events import (
    KnownEvents,
    Resolution,
    find_create_id,
)

PASSES = ("m.room.power_levels", "m.room.join_rules", "m.room.member")
"""The types that decide over others, in the order in which they are resolved."""


def resolve_v1(state_sets: Sequence[Mapping[StateKey, EventId]]) -> Resolution:
    """Resolve states by version 1."""
    split = split_conflicted(state_sets, absence_conflicts=False)
    if not split.conflicted:
        return split.unconflicted
    known = KnownEvents(find_create_id(state_sets))
    state: State = split.unconflicted
    yield from known.load(split.conflicted_events)
    yield from load_for_auth(known.find_all(split.conflicted_events), state, known)
    for place in sorted(split.conflicted, key=turn_of):
        rivals = sorted(known.find_all(split.conflicted[place]), key=age_of)
        if rivals and place[0] in PASSES:
            follow_while_allowed(rivals, state, known)
        elif rivals:
            take_latest_allowed(rivals, state, known)
    return state


def turn_of(place: StateKey) -> tuple[int, StateKey]:
    """When the conflict at a place is resolved."""
    return (PASSES.index(place[0]) if place[0] in PASSES else len(PASSES), place)


def age_of(event: Pdu) -> tuple[int, int]:
    """Orders by ascending depth, then descending SHA-1 of the event ID."""
    digest = sha1(event.event_id.encode(), usedforsecurity=False).digest()
    return (event.depth, -int.from_bytes(digest))


def follow_while_allowed(rivals: Sequence[Pdu], state: State, known: KnownEvents) -> None:
    """Take the first event, and each next one until one is not allowed."""
    oldest, *later = rivals
    state[oldest.state_place] = oldest.event_id
    for event in later:
        if not is_allowed(event, state, known, {}):
            return
        state[event.state_place] = event.event_id


def take_latest_allowed(rivals: Sequence[Pdu], state: State, known: KnownEvents) -> None:
    """Take the last event that is allowed.

    The specification does not say what happens if none is; servers keep the first one.
    """
    allowed = (event for event in reversed(rivals) if is_allowed(event, state, known, {}))
    chosen = next(allowed, rivals[0])
    state[chosen.state_place] = chosen.event_id
