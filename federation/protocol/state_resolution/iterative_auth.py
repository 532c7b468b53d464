"""Iterative auth checks: which of a list of state events make it into a state.

Source: room version 2, "State resolution", "Iterative auth checks".
"""

from collections.abc import Mapping, Sequence

from federation.protocol.auth_events import CREATE, POWER_LEVELS, auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.state_resolution.known_events import KnownEvents, Loading

State = dict[StateKey, EventId]


def apply_in_order(events: Sequence[Pdu], state: State, known: KnownEvents) -> Loading:
    """Put each event that the state so far allows into the state, in place."""
    yield from load_for_auth(events, state, known)
    for event in events:
        if is_allowed(event, state, known, known.accepted_auth_events(event)):
            state[event.state_place] = event.event_id


def load_for_auth(events: Sequence[Pdu], state: State, known: KnownEvents) -> Loading:
    """Have what authorising these events, starting from the state, may look at."""
    yield from known.load_auth_events(events)
    places = {place for event in events for place in places_of(event)}
    yield from known.load(state[place] for place in places if place in state)


def places_of(event: Pdu) -> list[StateKey]:
    """The places of the state that decide whether an event is allowed."""
    return auth_event_places(
        event.type, event.state_key, event.sender, event.content, event.room_version
    )


def is_allowed(
    event: Pdu, state: State, known: KnownEvents, substitutes: Mapping[StateKey, Pdu]
) -> bool:
    """Whether the state allows the event; `substitutes` make up for places that it lacks."""
    view = dict(substitutes)
    for place in places_of(event):
        current = known.find(state.get(place))
        if current is not None:
            view[place] = current
    create = view.get(CREATE) or known.create
    power = None if create is None else known.power_levels(view.get(POWER_LEVELS), create)
    try:
        check_auth(event, AuthState(view, create=create, power=power))
    except AuthRuleFailed:
        return False
    return True
