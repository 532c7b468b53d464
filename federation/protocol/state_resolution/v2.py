"""State resolution, algorithm version 2, and 2.1 of room version 12.

First what might take power from somebody is put in order and tried, so that it is known who may
do what; then all the rest, in the order of the power levels that it rests on. Version 2.1 starts
from nothing instead of from what is undisputed, so that old power cannot be resurrected by
leaving out what ended it, and therefore needs the events between the conflicted ones as well.

Source: room versions 2 and 12, "State resolution".
"""

from collections.abc import Iterable, Mapping, Sequence, Set

from federation.protocol.auth_events import JOIN_RULES, POWER_LEVELS
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.state_resolution.conflicted import split_conflicted
from federation.protocol.state_resolution.iterative_auth import apply_in_order
from federation.protocol.state_resolution.known_events import (
    KnownEvents,
    Resolution,
    find_create_id,
)
from federation.protocol.state_resolution.mainline import mainline_order
from federation.protocol.state_resolution.power_order import reverse_topological_power_order


def resolve_v2(
    state_sets: Sequence[Mapping[StateKey, EventId]],
    added_to_conflict: Set[EventId],
    *,
    start_from_nothing: bool,
) -> Resolution:
    """Resolve states by version 2, or (`start_from_nothing`) version 2.1.

    `added_to_conflict` is what makes the conflicted state set the full conflicted set: the auth
    difference, and for version 2.1 the conflicted state subgraph.
    """
    split = split_conflicted(state_sets)
    if not split.conflicted:
        return split.unconflicted
    known = KnownEvents(find_create_id(state_sets))
    full_conflicted = split.conflicted_events | added_to_conflict
    yield from known.load(full_conflicted)
    disputed = {e.event_id: e for e in known.find_all(full_conflicted) if e.is_state}
    state = {} if start_from_nothing else dict(split.unconflicted)

    power_events = with_auth_chains(filter(is_power_event, disputed.values()), disputed)
    yield from known.load_auth_events(power_events.values())
    ordered = reverse_topological_power_order(power_events, known.sender_level)
    yield from apply_in_order(ordered, state, known)

    rest = [e for e in disputed.values() if e.event_id not in power_events]
    power_levels_id = state.get(POWER_LEVELS)
    yield from known.load(() if power_levels_id is None else (power_levels_id,))
    power_levels = known.find(power_levels_id)
    yield from known.load_mainline(power_levels, rest)
    ordered = mainline_order(rest, power_levels, lambda e: known.find_cited(e, POWER_LEVELS))
    yield from apply_in_order(ordered, state, known)

    return state | split.unconflicted


def is_power_event(event: Pdu) -> bool:
    """Whether a state event might take away somebody's ability to do something.

    Power levels and join rules count only with an empty state key, as the others have no power.
    """
    if event.type == "m.room.member":
        removal = event.content.get("membership") in ("leave", "ban")
        return removal and event.sender != event.state_key
    return event.state_place in (POWER_LEVELS, JOIN_RULES)


def with_auth_chains(events: Iterable[Pdu], disputed: Mapping[EventId, Pdu]) -> dict[EventId, Pdu]:
    """The events, and what of the full conflicted set lies in their auth chains.

    The walk does not leave the full conflicted set, nor do other servers: to know of a disputed
    event behind an undisputed one they would need whole auth chains.
    """
    found = {event.event_id: event for event in events}
    pending = list(found.values())
    while pending:
        for cited in pending.pop().auth_events:
            if cited in disputed and cited not in found:
                found[cited] = disputed[cited]
                pending.append(disputed[cited])
    return found
