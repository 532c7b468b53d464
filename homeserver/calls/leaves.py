"""Looking after the delayed leaves of participants, in one process at a time.

What is looked after is in the database, so whichever process has the duty goes on where another
one ended. The others hand on what they hear by webhooks and requests, over the bus; nothing rests
on that arriving, because LiveKit is asked from time to time.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

import orjson

from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import ServerName
from homeserver.calls import leave as steps
from homeserver.calls.leave import Act, Leave, Phase
from homeserver.calls.livekit import LiveKitFailed
from homeserver.calls.ports import DelayedEvents, LiveKitRooms
from homeserver.clock import Clock
from homeserver.duty import Duty
from storage.call_leaves import (
    StoredLeave,
    all_leaves,
    delete_leave,
    find_leave,
    note_leave,
    put_leave,
)
from storage.database import Database

log = logging.getLogger("hearth.calls")

AT_ONCE = 20
"""Requests to LiveKit and to homeservers that run beside each other."""
DUTY_GOOD_S = 60.0
"""How long a process relies on being the one that looks after them."""

WORTH_REPEATING = (408, 429)
"""Refusals after which the same may be tried again; others say that nothing can be done."""


class Word(StrEnum):
    """What is heard of a participant."""

    BEGUN = "begun"
    """Its leave is to be looked after."""
    CONNECTED = "connected"
    GONE = "gone"
    BROKEN_OFF = "broken_off"
    """Its connection came to nothing."""


Key = tuple[str, str]
"""A LiveKit room and a participant's identity in it."""
Held = tuple[ServerName, Leave]
"""The homeserver that has the delayed event, and how far it is."""


class Leaves:
    """The delayed leaves that were handed over to us; `number` is this process's among its peers.

    `events_of` are the delayed events of a homeserver, `announce` tells the other processes.
    """

    def __init__(
        self,
        db: Database,
        rooms: LiveKitRooms,
        events_of: Callable[[ServerName], DelayedEvents],
        announce: Callable[[str], Awaitable[None]],
        clock: Clock,
        duty: Duty,
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._events_of = events_of
        self._announce = announce
        self._clock = clock
        self._duty = duty
        self._held: dict[Key, Held] = {}
        self._to_read: set[Key] = set()
        self._is_all_to_read = True
        self._unsaved: dict[Key, StoredLeave] = {}
        self._over: dict[Key, str] = {}
        """The delay IDs of what is to be looked after no more."""
        self._busy: dict[asyncio.Task[None], Key] = {}
        self._news = asyncio.Event()
        self._turns = asyncio.Semaphore(AT_ONCE)

    # -- what is heard ----------------------------------------------------------------------

    async def take(self, key: Key, server: ServerName, delay_id: str, delay_ms: int) -> None:
        """Look after a leave from now on, in place of the participant's former one."""
        leave = steps.begin(delay_id, delay_ms, self._clock())
        await put_leave(self._db, _stored(key, server, leave))
        await self.heard(Word.BEGUN, key)

    async def heard(self, what: Word, key: Key) -> None:
        """Take note of what a webhook says of a participant, here or where it matters."""
        self._apply(what, key)
        if not self._duty.is_ours:
            await self._announce(orjson.dumps([what, *key]).decode())

    def hear(self, message: str) -> None:
        """Another process tells of what it has heard."""
        what, room, identity = orjson.loads(message)
        self._apply(Word(what), (room, identity))

    def missed_messages(self) -> None:
        """Other processes may have said something; what there is is read anew."""
        self._is_all_to_read = True
        self._news.set()

    def _apply(self, what: Word, key: Key) -> None:
        if not self._duty.is_ours:
            return
        held, now_ts = self._held.get(key), self._clock()
        match what, held:
            case Word.BEGUN, _:
                self._to_read.add(key)
            case Word.CONNECTED, (server, leave):
                self._set(key, server, steps.seen(leave, now_ts))
            case Word.GONE, (server, leave):
                self._set(key, server, steps.told_gone(leave, now_ts))
            case Word.BROKEN_OFF, (server, leave):
                self._set(key, server, steps.told_broken_off(leave, now_ts))
        self._news.set()

    def _set(self, key: Key, server: ServerName, later: Leave | None) -> None:
        """Have a leave as it is now; None if it is over."""
        _, former = self._held[key]
        if later is None:
            del self._held[key]
            self._over[key] = former.delay_id
            self._unsaved.pop(key, None)
            return
        self._held[key] = (server, later)
        if (later.phase, later.expires_ts) != (former.phase, former.expires_ts):
            self._unsaved[key] = _stored(key, server, later)

    # -- what is done -----------------------------------------------------------------------

    async def run(self) -> None:
        """Look after them whenever no other process does, until cancelled."""
        await self._duty.hold(self._look_after)

    async def _look_after(self, position: int) -> None:
        """Look after all until another process does."""
        del position
        self._is_all_to_read = True
        good_until_s = time.monotonic() + DUTY_GOOD_S
        try:
            while True:
                if self._held and time.monotonic() > good_until_s:
                    if not await self._duty.is_still_ours():
                        return
                    good_until_s = time.monotonic() + DUTY_GOOD_S
                self._news.clear()
                await self._read()
                await self._save()
                self._begin_what_is_due()
                await self._wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        tasks = list(self._busy)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(MatrixError):
            await self._save()
        self._held.clear()

    async def _read(self) -> None:
        """Have what the database has and we have not."""
        if self._is_all_to_read:
            self._is_all_to_read = False
            self._to_read.clear()
            for stored in await all_leaves(self._db):
                self._take_stored(stored)
        for key in list(self._to_read):
            self._to_read.discard(key)
            found = await find_leave(self._db, *key)
            if found is not None:
                self._take_stored(found)

    def _take_stored(self, stored: StoredLeave) -> None:
        key = (stored.room, stored.identity)
        held = self._held.get(key)
        if self._over.get(key) == stored.delay_id:
            return
        if held is None or held[1].delay_id != stored.delay_id:
            leave = steps.resume(_leave_of(stored), self._clock())
            self._held[key] = (stored.server, leave)
            self._unsaved.pop(key, None)

    async def _save(self) -> None:
        """Note what has changed; after a crash it is found out anew."""
        for key, stored in list(self._unsaved.items()):
            await note_leave(self._db, stored)
            if self._unsaved.get(key) is stored:
                del self._unsaved[key]
        for key, delay_id in list(self._over.items()):
            await delete_leave(self._db, *key, delay_id)
            if self._over.get(key) == delay_id:
                del self._over[key]

    def _begin_what_is_due(self) -> None:
        now_ts, busy = self._clock(), set(self._busy.values())
        for key, (server, leave) in self._held.items():
            due_ts, act = leave.next_step
            if due_ts <= now_ts and key not in busy:
                task = asyncio.create_task(self._do(key, server, leave, act))
                self._busy[task] = key
                task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        del self._busy[task]
        self._news.set()

    async def _wait(self) -> None:
        """Until something is heard, has been done, or is due."""
        busy = set(self._busy.values())
        due = [leave.next_step[0] for key, (_, leave) in self._held.items() if key not in busy]
        wait_s = max(min(due) - self._clock(), 0) / 1000 if due else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()

    async def _do(self, key: Key, server: ServerName, leave: Leave, act: Act) -> None:
        """Take a step; its outcome counts unless something else was heard meanwhile."""
        try:
            async with self._turns:
                later = await self._outcome(key, server, leave, act)
        except Exception:
            log.exception("A leave of a call could not be looked after: %s", key)
            later = steps.put_off(leave, self._clock() + steps.LOOK_EVERY_MS)
        held = self._held.get(key)
        if held is not None and held[1] is leave:
            self._set(key, server, later)

    async def _outcome(self, key: Key, server: ServerName, leave: Leave, act: Act) -> Leave | None:
        match act:
            case Act.LOOK:
                is_there = await self._is_there(key)
                return steps.looked(leave, self._clock(), is_there)
            case Act.RESTART:
                exists = await self._try(self._events_of(server).restart, leave)
                return steps.restarted(leave, self._clock(), exists)
            case Act.SEND:
                is_sent = await self._try(self._events_of(server).send, leave)
                return steps.sent(leave, self._clock(), is_sent is not None)

    async def _is_there(self, key: Key) -> bool | None:
        try:
            return await self._rooms.is_in_room(*key)
        except LiveKitFailed as error:
            log.info("LiveKit cannot be asked after a participant: %s", error.reason)
            return None

    async def _try(self, step: Callable[[str], Awaitable[object]], leave: Leave) -> bool | None:
        """Whether it was done; False if there is no such event any more, None if it failed."""
        try:
            await step(leave.delay_id)
        except MatrixError as error:
            if error.status < 500 and error.status not in WORTH_REPEATING:
                return False
            log.info("The delayed event %s cannot be had just now: %s", leave.delay_id, error)
            return None
        return True


def _stored(key: Key, server: ServerName, leave: Leave) -> StoredLeave:
    return StoredLeave(
        *key,
        server,
        leave.delay_id,
        leave.delay_ms,
        leave.phase,
        leave.since_ts,
        leave.expires_ts,
    )


def _leave_of(stored: StoredLeave) -> Leave:
    return Leave(
        delay_id=stored.delay_id,
        delay_ms=stored.delay_ms,
        phase=Phase(stored.phase),
        since_ts=stored.since_ts,
        expires_ts=stored.expires_ts,
        look_ts=stored.since_ts,
        act_ts=stored.since_ts,
    )
