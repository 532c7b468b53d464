"""Delayed events as their users see them: scheduling, restarting, sending at once, cancelling.

Clients in a call schedule the event that says they have left, and restart it for as long as they
are there. Source: MSC4140.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from federation.protocol.errors import Forbidden, LimitExceeded, NotFound, TooLarge
from federation.protocol.event_format import MAX_EVENT_BYTES
from federation.protocol.event_rendering import dump_event
from federation.protocol.identifiers import EventId, RoomId, is_within_bytes
from homeserver.calls.delivery import Delivery
from homeserver.clock import Clock
from homeserver.config.sections.calls import DelayedEvents as Limits
from storage.add_events import Transaction
from storage.database import Database
from storage.delayed_events import (
    AlreadyFinalised,
    DelayedEvent,
    NewDelayedEvent,
    add_delayed_event,
    cancel_delayed_event,
    delayed_events_of,
    find_delayed_event,
    find_requested,
    next_due_ts_of,
    restart_delayed_event,
)
from storage.names import Names

ID_BYTES = 24
"""Whoever knows an ID may manage the event, so it cannot be guessed."""
PAGE = 100


class DelayedEventOver(NotFound):
    """The delayed event was sent or cancelled before, which is not what was asked for."""


class DelayTooLong(Forbidden):
    """The delay is longer than the server allows."""

    def __init__(self, max_delay_ms: int) -> None:
        super().__init__(f"Events may be delayed by {max_delay_ms} ms at most")
        self.max_delay_ms = max_delay_ms


class TooManyDelayedEvents(LimitExceeded):
    """The user has as many delayed events scheduled as the server allows."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(retry_after_ms)
        self.message = "You have scheduled as many delayed events as you may"


@dataclass(frozen=True, slots=True)
class LaterEvent:
    """An event that a user wants to have sent later; None as `state_key` for a message event.

    `origin_server_ts` is set only where somebody may choose it.
    """

    user_nid: int
    room_id: RoomId
    type: str
    content: Mapping[str, Any]
    delay_ms: int
    state_key: str | None = None
    origin_server_ts: int | None = None
    sticky_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's delayed events, and where the next ones begin if there are more."""

    events: list[DelayedEvent]
    next_batch: str | None


class DelayedEvents:
    """Schedules events and manages those that are scheduled.

    Whoever is named as `owner` may manage their own; without it, knowing the ID is enough.
    `scheduled` is called with the time at which something is due that was not so before.
    """

    def __init__(
        self,
        db: Database,
        names: Names,
        delivery: Delivery,
        clock: Clock,
        limits: Limits,
        scheduled: Callable[[int], Awaitable[None]],
    ) -> None:
        self._db = db
        self._names = names
        self._delivery = delivery
        self._clock = clock
        self._limits = limits
        self._scheduled = scheduled

    async def schedule(self, later: LaterEvent, request: Transaction | None) -> str:
        """Have an event sent later; the same request again answers the first ID.

        Raises `DelayTooLong`, `TooManyDelayedEvents`, `TooLarge`, `NotFound` (no such room), and
        `Forbidden` where nothing may be delayed.
        """
        known = await self._find_requested(request)
        if known is not None:
            return known
        new = await self._check(later, request)
        most = self._limits.max_scheduled
        if await add_delayed_event(self._db, new, most):
            await self._scheduled(new.scheduled_ts + new.delay_ms)
            return new.delay_id
        # The same request has come twice at once, or a query was repeated.
        known = await self._find_requested(request)
        if known is None and await find_delayed_event(self._db, new.delay_id) is None:
            next_ts = await next_due_ts_of(self._db, later.user_nid) or new.scheduled_ts
            raise TooManyDelayedEvents(max(next_ts - self._clock(), 1))
        return known or new.delay_id

    async def restart(self, delay_id: str, owner: int | None = None) -> None:
        """Have the delay begin anew. Raises `NotFound`, `DelayedEventOver`."""
        if not await restart_delayed_event(self._db, delay_id, self._clock(), owner):
            await self._get(delay_id, owner)
            raise DelayedEventOver("The delayed event is no longer scheduled")

    async def cancel(self, delay_id: str, owner: int | None = None) -> None:
        """Have it never be sent, as it may be already. Raises `NotFound`, `DelayedEventOver`."""
        if await cancel_delayed_event(self._db, delay_id, self._clock(), owner):
            return
        if (await self._get(delay_id, owner)).is_sent:
            raise DelayedEventOver("The delayed event has been sent")

    async def send(self, delay_id: str, owner: int | None = None) -> EventId:
        """Send it now, if it has not been sent yet. Raises `NotFound`, `DelayedEventOver`.

        It also raises what sending raises; the event then stays scheduled.
        """
        event = await self._get(delay_id, owner)
        if event.is_scheduled:
            try:
                return await self._delivery.deliver(event)
            except AlreadyFinalised:
                event = await self._get(delay_id, owner)
        if event.event_id is None:
            raise DelayedEventOver("The delayed event was cancelled")
        return event.event_id

    async def get(self, user_nid: int, delay_id: str) -> DelayedEvent:
        """One of a user's delayed events. Raises `NotFound`."""
        return await self._get(delay_id, user_nid)

    async def page(
        self,
        user_nid: int,
        *,
        finalised: bool,
        after: tuple[int, int],
        delay_ids: Collection[str] | None,
    ) -> Page:
        """The user's next delayed events after a time and number, in the order they are due."""
        events = await delayed_events_of(
            self._db,
            user_nid,
            finalised=finalised,
            after=after,
            delay_ids=delay_ids,
            limit=PAGE + 1,
        )
        if len(events) <= PAGE:
            return Page(events, None)
        last = events[PAGE - 1]
        return Page(events[:PAGE], f"{last.due_ts}_{last.delay_nid}")

    async def _get(self, delay_id: str, owner: int | None) -> DelayedEvent:
        event = await find_delayed_event(self._db, delay_id)
        if event is None or owner not in {None, event.user_nid}:
            raise NotFound("There is no such delayed event")
        return event

    async def _find_requested(self, request: Transaction | None) -> str | None:
        if request is None:
            return None
        return await find_requested(self._db, request.device_nid, request.path_digest)

    async def _check(self, later: LaterEvent, request: Transaction | None) -> NewDelayedEvent:
        """The record of an event that may be scheduled."""
        if not self._limits.max_scheduled:
            raise Forbidden("Events cannot be delayed here")
        max_delay_ms = self._limits.max_delay_s * 1000
        if later.delay_ms > max_delay_ms:
            raise DelayTooLong(max_delay_ms)
        content = dump_event(later.content)
        names = (later.type, later.state_key or "")
        if len(content) > MAX_EVENT_BYTES or not all(map(is_within_bytes, names)):
            raise TooLarge("The event is too large")
        room = await self._names.rooms.find(later.room_id)
        if room is None:
            raise NotFound("There is no such room here")
        return NewDelayedEvent(
            secrets.token_urlsafe(ID_BYTES),
            later.user_nid,
            room.room_nid,
            None if request is None else request.device_nid,
            None if request is None else request.path_digest,
            later.type,
            later.state_key,
            content,
            later.origin_server_ts,
            later.sticky_ms,
            later.delay_ms,
            self._clock(),
        )


def build_view(event: DelayedEvent) -> dict[str, Any]:
    """A delayed event as its user is shown it.

    `delay` and `running_since` are older names that clients still read.
    """
    view: dict[str, Any] = {
        "delay_id": event.delay_id,
        "room_id": event.room_id,
        "type": event.type,
        "delay_ms": event.delay_ms,
        "delay": event.delay_ms,
        "scheduled_at": event.scheduled_ts,
        "running_since": event.scheduled_ts,
        "content": orjson.loads(event.content),
    }
    outcome = {
        "state_key": event.state_key,
        "finalised_ts": event.finalised_ts,
        "event_id": event.event_id,
        "error": None if event.error is None else orjson.loads(event.error),
    }
    return view | {name: value for name, value in outcome.items() if value is not None}
