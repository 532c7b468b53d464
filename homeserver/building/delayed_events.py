"""Delayed events, put together."""

from dataclasses import dataclass

from homeserver.building.core import Core
from homeserver.calls.delayed_events import DelayedEvents
from homeserver.calls.delivery import Delivery
from homeserver.calls.timer import Timer
from homeserver.rooms.user_events import UserEvents
from storage.duties import DELAYED_EVENTS

TOPIC = "delayed_events"


@dataclass(frozen=True, slots=True)
class DelayedEventParts:
    """What users call, and what sends events when they are due."""

    delayed_events: DelayedEvents
    timer: Timer


def build_delayed_events(core: Core, events: UserEvents) -> DelayedEventParts:
    """Delayed events; `Timer.run` is for the caller to run."""
    delivery = Delivery(core.db, events, core.clock)
    duty = core.duty(DELAYED_EVENTS)
    timer = Timer(core.db, delivery, core.clock, duty, core.announcer(TOPIC))
    core.hear(TOPIC, timer.hear, timer.missed_messages)
    delayed_events = DelayedEvents(
        core.db,
        core.names,
        delivery,
        core.clock,
        core.settings.delayed_events,
        timer.scheduled,
    )
    return DelayedEventParts(delayed_events, timer)
