"""Delivering to one application service: one transaction at a time, in order, until it has it.

A transaction that tells of events or of messages to devices is noted in the database before it is
sent: from where it goes, how far, and its number. A process that starts after a crash makes it
again from the stream and sends it under the same number, so that the service recognises it if it
has it already.
Source: application service API, "Pushing events".
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from federation.protocol.errors import MatrixError
from homeserver.appservices.composing import Composer
from homeserver.appservices.interest import Interest
from homeserver.appservices.link import ServiceLink, ServiceRequest, ServiceUnreachable
from homeserver.appservices.namespaces import Namespaces
from homeserver.appservices.outbox import Batch, Outbox
from homeserver.appservices.registrations import Registration
from homeserver.clock import Clock
from storage.appservices import (
    Progress,
    begin_transaction,
    delete_delivered,
    keep_progress,
    page_end,
)
from storage.changes import ToDeviceAdded
from storage.database import Pool
from storage.feed import read_changes
from storage.names import Names
from storage.stream import Stream

log = logging.getLogger("hearth.appservices")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
UNCONNECTED_PAUSE_S = 10.0
"""To find that nobody listens costs next to nothing, and a service that starts is told at once."""
DATABASE_PAUSE_S = 2.0
PAGE_EVENTS = 500
"""Events that are read back at once."""
ENOUGH_WAITING = 100
QUIET_S = 1.0
KEEP_EVERY = 5_000
"""How far the stream goes on without news for the service before that is noted."""
INTEREST_BYTES = 1_000_000
"""For what is known of rooms while a service is behind."""

T = TypeVar("T")


class Replaced(Exception):
    """Another process has taken over the delivering."""


class Courier:
    """Delivers to one service, for as long as `run` is running."""

    def __init__(
        self,
        service: Registration,
        link: ServiceLink,
        composer: Composer,
        *,
        db: Pool,
        names: Names,
        namespaces: Namespaces,
        stream: Stream,
        clock: Clock,
        chance: Callable[[], float],
        number: int,
        timeout_s: float,
        progress: Progress,
    ) -> None:
        self.service = service
        self.bit = namespaces.bit_of(service.service_id)
        self.outbox = Outbox(progress.position)
        self._link = link
        self._composer = composer
        self._db = db
        self._names = names
        self._namespaces = namespaces
        self._stream = stream
        self._clock = clock
        self._chance = chance
        self._number = number
        self._timeout_s = timeout_s
        self._txn_id = progress.txn_id
        self._kept = progress.position
        self._is_kept = progress.reaches is None
        self._unfinished = progress.reaches
        self._passing = 0
        self._interest: Interest | None = None
        self._failures = 0
        self._longest_pause_s = LONGEST_PAUSE_S
        self._hurry = asyncio.Event()
        self.sent = self.failed = 0
        """Transactions that the service has taken, and attempts that it has not."""

    def heard_from(self) -> None:
        """The service has made a request: it may be there again."""
        self._hurry.set()

    async def run(self, live_upto: Callable[[], int]) -> None:
        """Deliver, until cancelled. `live_upto` tells how far the outbox has been fed live.

        Raises `Replaced`.
        """
        if self._unfinished is not None:
            await self._finish(self._unfinished)
        while True:
            if self.outbox.is_behind and len(self.outbox) < ENOUGH_WAITING:
                await self._patiently(lambda: self._read_back(self._stream.position, live_upto))
            batch = self.outbox.take()
            if batch is not None:
                await self._deliver(batch)
            elif not self.outbox.is_behind:
                await self._wait()

    async def _finish(self, reaches: int) -> None:
        """Deliver the transaction that a former process has begun."""
        while self.outbox.fed_upto < reaches:
            await self._patiently(lambda: self._read_back(reaches, None))
        batch = self.outbox.take(reaches)
        if batch is not None:
            body = await self._patiently(lambda: self._composer.compose(self.service, batch))
            await self._send(str(self._txn_id), body)
            await self._patiently(lambda: self._forget_messages(batch))
        await self._keep_position(reaches)

    async def _read_back(self, upto: int, live_upto: Callable[[], int] | None) -> None:
        """Feed the outbox with the next page of the stream, at most to `upto`.

        When it has caught up with what is fed live, it is behind no longer.
        """
        outbox = self.outbox
        if self._interest is None:
            self._interest = Interest(
                self._db, self._names, self._namespaces, self.bit, INTEREST_BYTES
            )
        since = outbox.fed_upto
        if since < upto:
            end = await page_end(self._db, since, upto, PAGE_EVENTS)
            name = self._namespaces.server_name
            changes = await read_changes(self._db, self._names, name, since, end)
            judged = await self._interest.judge(changes, since)
            outbox.feed([change for change, _ in judged], end)
        if live_upto is not None and outbox.fed_upto >= live_upto():
            outbox.is_behind = False
            self._interest = None

    async def _deliver(self, batch: Batch) -> None:
        """Deliver a batch, however long it takes; what is of the moment only once."""
        if not batch.changes:
            body = await self._patiently(lambda: self._composer.compose(self.service, batch))
            await self._attempt(self._passing_id(), body)
            return
        txn_id = self._passing_id()
        if batch.is_durable:
            self._txn_id += 1
            txn_id = str(self._txn_id)
            begun = Progress(batch.since, self._txn_id, batch.reaches)
            await self._keep(lambda: begin_transaction(self._db, self._number, *self._at(begun)))
        body = await self._patiently(lambda: self._composer.compose(self.service, batch))
        await self._send(txn_id, body)
        await self._patiently(lambda: self._forget_messages(batch))
        self._is_kept = self._is_kept and not batch.is_durable

    async def _wait(self) -> None:
        """Wait for news. When none have come for a while, note how far the service has been told.

        Until then the database says that the last transaction is under way, which is as good: it
        would be sent again under its number. The next one that is begun notes its end as well.
        """
        is_far = self.outbox.taken_upto - self._kept > KEEP_EVERY
        is_due = is_far or not self._is_kept
        if not await self.outbox.wait(QUIET_S if is_due else None):
            await self._keep_position(self.outbox.taken_upto)

    async def _keep_position(self, position: int) -> None:
        self._kept, self._is_kept = position, True
        done = Progress(position, self._txn_id)
        await self._keep(lambda: keep_progress(self._db, self._number, *self._at(done)))

    async def _keep(self, write: Callable[[], Awaitable[bool]]) -> None:
        if not await self._patiently(write):
            raise Replaced

    def _at(self, progress: Progress) -> tuple[str, Progress]:
        return self.service.service_id, progress

    def _passing_id(self) -> str:
        """An ID for a transaction that is not noted; no later process may use it again."""
        self._passing += 1
        return f"{self._clock()}.{self._number}.{self._passing}"

    async def _forget_messages(self, batch: Batch) -> None:
        """Delete the messages that were delivered, of users who are the service's alone.

        A service that asks for no device lists and numbers of keys does not encrypt by what it is
        told: its devices get their messages by /sync, as bridges of the mautrix family have it
        unless they are set up otherwise.
        """
        if not (self.service.is_told_ephemeral and self.service.receives_device_news):
            return
        users = {change.user_nid for change in batch.changes if isinstance(change, ToDeviceAdded)}
        names = await self._names.users.get_texts(users)
        own = [
            nid for nid, name in names.items() if self._namespaces.reserving_user(name) & self.bit
        ]
        if own:
            await delete_delivered(self._db, own, batch.since, batch.reaches)

    async def _send(self, txn_id: str, body: bytes) -> None:
        """Send a transaction until the service has taken it."""
        while not await self._attempt(txn_id, body):
            pause_s = min(self._longest_pause_s, FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
            self._hurry.clear()
            await asyncio.sleep(FIRST_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((pause_s - FIRST_PAUSE_S) * (0.5 + self._chance())):
                    await self._hurry.wait()

    async def _attempt(self, txn_id: str, body: bytes) -> bool:
        """Send a transaction once; whether the service has taken it."""
        path = f"/transactions/{quote(txn_id, safe='')}"
        try:
            answer = await self._link.call(
                ServiceRequest("PUT", path, legacy_path=path, body=body), self._timeout_s
            )
        except ServiceUnreachable as error:
            is_slow = error.timed_out
            return self._failed(str(error), LONGEST_PAUSE_S if is_slow else UNCONNECTED_PAUSE_S)
        if not answer.is_success:
            return self._failed(f"it answers {answer.status}", LONGEST_PAUSE_S)
        if self._failures:
            log.info("The application service %s is there again", self.service.service_id)
        self._failures = 0
        self.sent += 1
        return True

    def _failed(self, reason: str, longest_pause_s: float) -> bool:
        self._longest_pause_s = longest_pause_s
        self._failures += 1
        self.failed += 1
        if self._failures == 1:
            log.warning(
                "The application service %s cannot be told what happens, which waits for it: %s",
                self.service.service_id,
                reason,
            )
        return False

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the database; if that is not there, later."""
        while True:
            try:
                return await work()
            except MatrixError as error:
                log.warning("Application services have to wait: %s", error)
                await asyncio.sleep(DATABASE_PAUSE_S)
