"""The events that a resolution has asked its caller for.

Resolving reads events but does no I/O: it is a generator that yields sets of event IDs and is
sent what its caller finds. Only events that matter are ever asked for.
"""

from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass

from federation.protocol.auth_events import CREATE, POWER_LEVELS
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.power_levels import Level, PowerLevels


@dataclass(frozen=True, slots=True)
class Loaded:
    """Events that the caller found, and which of all it knows were rejected.

    What was asked for and is not there is passed over. More than was asked for is welcome: a
    caller that finds power levels events does well to add those in their auth chains, which are
    asked for next, step by step.
    """

    events: Mapping[EventId, Pdu]
    rejected: Collection[EventId] = ()


Loading = Generator[frozenset[EventId], Loaded, None]
"""Asks for events until it has what it needs."""

Resolution = Generator[frozenset[EventId], Loaded, dict[StateKey, EventId]]
"""Asks for events, then returns the resolved state."""


class KnownEvents:
    """What has been loaded so far, and what follows from an event's auth events."""

    __slots__ = ("_asked", "_create_id", "_events", "_power_levels", "_rejected")

    def __init__(self, create_id: EventId | None) -> None:
        self._create_id = create_id
        self._events: dict[EventId, Pdu] = {}
        self._rejected: set[EventId] = set()
        self._asked: set[EventId] = set()
        self._power_levels: dict[EventId | None, PowerLevels] = {}

    def load(self, event_ids: Iterable[EventId]) -> Loading:
        """Have these events, as far as they are to be had."""
        wanted = frozenset(i for i in event_ids if i not in self._events and i not in self._asked)
        if not wanted:
            return
        loaded = yield wanted
        self._asked |= wanted
        self._events.update(loaded.events)
        self._rejected.update(loaded.rejected)

    def load_auth_events(self, events: Iterable[Pdu]) -> Loading:
        """Have the auth events of these events, and the create event."""
        create = () if self._create_id is None else (self._create_id,)
        return self.load([*create, *(cited for event in events for cited in event.auth_events)])

    def load_mainline(self, power_levels: Pdu | None, events: Iterable[Pdu]) -> Loading:
        """Have the power levels that the mainline ordering of these events looks at.

        The mainline is followed back from `power_levels` as far as the way back from any of the
        events has not met it; mostly they meet at once, however old the room is.
        """
        yield from self.load_auth_events(events)
        cited = {p.event_id: p for e in events if (p := self.find_cited(e, POWER_LEVELS))}
        ways: dict[EventId, set[EventId]] = {start: {start} for start in cited}
        ends: dict[EventId, Pdu | None] = dict(cited)
        mainline = set() if power_levels is None else {power_levels.event_id}
        while True:
            apart = [start for start, way in ways.items() if way.isdisjoint(mainline)]
            fronts = [front for start in apart if (front := ends[start]) is not None]
            if not apart or (power_levels is None and not fronts):
                return
            yield from self.load_auth_events([p for p in (power_levels, *fronts) if p is not None])
            power_levels = self._step_back(power_levels, mainline)
            for start in apart:
                ends[start] = self._step_back(ends[start], ways[start])

    def _step_back(self, power_levels: Pdu | None, passed: set[EventId]) -> Pdu | None:
        """The power levels that others rest on, which are passed thereby; None at the end."""
        before = None if power_levels is None else self.find_cited(power_levels, POWER_LEVELS)
        if before is None or before.event_id in passed:
            return None
        passed.add(before.event_id)
        return before

    def find(self, event_id: EventId | None) -> Pdu | None:
        """The event, if it was found."""
        return None if event_id is None else self._events.get(event_id)

    def find_all(self, event_ids: Iterable[EventId]) -> list[Pdu]:
        """Those of the events that were found."""
        return [self._events[event_id] for event_id in event_ids if event_id in self._events]

    def find_cited(self, event: Pdu, place: StateKey) -> Pdu | None:
        """The auth event of an event that has this place in the state."""
        for cited in self.find_all(event.auth_events):
            if (cited.type, cited.state_key) == place:
                return cited
        return None

    def accepted_auth_events(self, event: Pdu) -> dict[StateKey, Pdu]:
        """The auth events of an event that were not rejected, by their place."""
        cited = self.find_all(event.auth_events)
        return {e.state_place: e for e in cited if e.is_state and e.event_id not in self._rejected}

    @property
    def create(self) -> Pdu | None:
        """The create event of the room, where all agree on it."""
        return self.find(self._create_id)

    def power_levels(self, event: Pdu | None, create: Pdu) -> PowerLevels:
        """What a power levels event says, or the lack of one; remembered."""
        event_id = None if event is None else event.event_id
        power = self._power_levels.get(event_id)
        if power is None:
            power = PowerLevels(None if event is None else event.content, create)
            self._power_levels[event_id] = power
        return power

    def sender_level(self, event: Pdu) -> Level:
        """The level of an event's sender by the event's own auth events."""
        create = self.create or self.find_cited(event, CREATE)
        if create is None:
            return 0
        return self.power_levels(self.find_cited(event, POWER_LEVELS), create).of(event.sender)


def find_create_id(state_sets: Iterable[Mapping[StateKey, EventId]]) -> EventId | None:
    """The ID of the create event that all states which have one agree on, if they do."""
    create_ids = {state[CREATE] for state in state_sets if CREATE in state}
    return create_ids.pop() if len(create_ids) == 1 else None
