"""When delayed events are due: one timer for the earliest of them, in one process.

The process with the duty sends what is due, rooms side by side, the events of a room one after the
other. Between two times it does nothing, and while nothing is scheduled it waits to be told.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import orjson

from federation.protocol.errors import MatrixError, Unknown
from homeserver.calls.delivery import Delivery
from homeserver.clock import Clock
from homeserver.duty import Duty
from storage.database import Database
from storage.delayed_events import (
    AlreadyFinalised,
    DelayedEvent,
    due_delayed_events,
    next_due_ts,
    note_failed,
)

log = logging.getLogger("hearth.delayed_events")

RETRY_S = 5.0
"""How long what cannot be sent because of this server waits."""
LONGEST_WAIT_S = 60.0
"""While something is scheduled, the clock is looked at so often: it may have been set."""
MOST_IN_HAND = 100
"""Due events that are in memory."""
MOST_ROOMS = 8
"""Rooms in which events are sent at once."""
SERVER_FAULT = 500
"""Statuses from here on say that the server could not do it just now."""


class Timer:
    """Sends delayed events when they are due, while the duty is this process's.

    `announce` tells other processes that something is scheduled, of which one keeps the time.
    """

    def __init__(
        self,
        db: Database,
        delivery: Delivery,
        clock: Clock,
        duty: Duty,
        announce: Callable[[str], Awaitable[None]],
    ) -> None:
        self._db = db
        self._delivery = delivery
        self._clock = clock
        self._duty = duty
        self._announce = announce
        self._news = asyncio.Event()
        self._next_ts: int | None = None
        """When it wakes by itself."""
        self._rooms: dict[int, deque[DelayedEvent]] = {}
        """What is being sent, by room."""
        self._places = asyncio.Semaphore(MOST_ROOMS)

    async def scheduled(self, due_ts: int) -> None:
        """Something is due at a time, where it was not so before."""
        if not self._duty.is_ours:
            await self._announce("")
        elif self._next_ts is None or due_ts < self._next_ts:
            self._news.set()

    def hear(self, message: str) -> None:
        """Another process has scheduled something."""
        del message
        self._news.set()

    def missed_messages(self) -> None:
        """Other processes may have scheduled something."""
        self._news.set()

    async def run(self) -> None:
        """Keep the time whenever no other process does, until cancelled."""
        await self._duty.hold(self._keep_time)

    async def _keep_time(self, position: int) -> None:
        """Keep the time until another process does; what is under way is sent to its end."""
        del position
        async with asyncio.TaskGroup() as group:
            while await self._take_turn(group):
                pass

    async def _take_turn(self, group: asyncio.TaskGroup) -> bool:
        """Send what is due and wait for the next; whether there is to be another turn."""
        try:
            if not await self._duty.is_still_ours():
                return False
            await self._begin_what_is_due(group)
            await self._wait()
        except MatrixError as error:
            log.warning("Delayed events have to wait: %s", error)
            await asyncio.sleep(RETRY_S)
        return True

    async def _begin_what_is_due(self, group: asyncio.TaskGroup) -> None:
        # What is scheduled from here on is perhaps not in what is read.
        self._news.clear()
        self._next_ts = None
        in_hand = self._in_hand()
        if len(in_hand) < MOST_IN_HAND:
            limit = MOST_IN_HAND - len(in_hand)
            due = await due_delayed_events(self._db, self._clock(), in_hand, limit)
            self._begin(group, due)
            in_hand = self._in_hand()
        # With both hands full it goes on when a room is done.
        is_full = len(in_hand) >= MOST_IN_HAND
        self._next_ts = None if is_full else await next_due_ts(self._db, in_hand)

    async def _wait(self) -> None:
        """Wait for the next time, or until something is scheduled or was sent."""
        if self._next_ts is None:
            await self._news.wait()
            return
        seconds = (self._next_ts - self._clock()) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0), LONGEST_WAIT_S)):
                await self._news.wait()

    def _in_hand(self) -> list[int]:
        return [event.delay_nid for events in self._rooms.values() for event in events]

    def _begin(self, group: asyncio.TaskGroup, due: Sequence[DelayedEvent]) -> None:
        for event in due:
            waiting = self._rooms.get(event.room_nid)
            if waiting is not None:
                waiting.append(event)
                continue
            self._rooms[event.room_nid] = deque((event,))
            group.create_task(self._send_in_room(event.room_nid))

    async def _send_in_room(self, room_nid: int) -> None:
        """Send what is due in a room, in order."""
        waiting = self._rooms[room_nid]
        try:
            async with self._places:
                while waiting:
                    await self._send(waiting[0])
                    waiting.popleft()
        except MatrixError as error:
            log.warning("Delayed events of a room have to wait: %s", error)
            await asyncio.sleep(RETRY_S)
        finally:
            del self._rooms[room_nid]
            self._news.set()

    async def _send(self, event: DelayedEvent) -> None:
        """Send one event, or note why that cannot be done.

        Raises `MatrixError` where it is to be tried again.
        """
        try:
            await self._delivery.deliver(event, is_due=True)
        except AlreadyFinalised:
            return
        except MatrixError as error:
            if error.status >= SERVER_FAULT:
                raise
            await self._fail(event, error)
        except Exception:
            log.exception("The delayed event %d cannot be sent", event.delay_nid)
            await self._fail(event, Unknown("Internal server error"))

    async def _fail(self, event: DelayedEvent, error: MatrixError) -> None:
        await note_failed(self._db, event, self._clock(), orjson.dumps(error.body()))
