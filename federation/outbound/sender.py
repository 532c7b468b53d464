"""Sending to other servers: one queue for each destination, one transaction at a time in each.

A destination that fails is left alone for a while, longer each time (`backoff.py`), and its events
wait in the database as marks of rooms (`destination_queue.py`). It is tried again when the time has
come, when it is heard of by itself, or when another destination answers again after a time in which
none did, for then it was our own link that was gone. After a restart everybody who lacks something
is tried, spread over a while.

What was done is kept in the database every moment or so, not with each transaction: a server that
is killed sends its last second again, which others recognise by event IDs and message IDs.
Source: server-server API, "Transactions".
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from federation.outbound.backoff import Backoff, is_sick
from federation.outbound.destination_queue import DestinationQueue, OutgoingTransaction
from federation.outbound.errors import FederationError, NotFederating
from federation.outbound.ledger import Ledger
from federation.outbound.packing import Packer
from federation.outbound.ports import Clock
from federation.outbound.queue_ports import Backlog, OutgoingPdu, Requests
from federation.protocol.edu import PresenceUpdate, Receipt, Typist
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import DESTINATION_RETRIES, RetrySchedule

log = logging.getLogger("hearth.sender")

MAX_ANSWER_BYTES = 1_048_576
KEPT_FAILURES = 5
KEPT_BYTES = 65_536
"""A failed transaction is held and repeated as it was, unless it is large or has failed often."""
TOLD_FOR_MS = 15 * 60_000
"""A destination that is away for longer is not told who has read and who is present."""
SKIPPED_AFTER = 4
"""How often a single item is refused before it is given up."""
STALLED_AFTER_MS = 10_000
"""A transaction under way for longer no longer holds up what is kept."""
FALLEN_BEFORE_MS = 10 * 60_000
"""When a link goes, this can be the time from the first failure to the last success."""
IDLE_KEEP_MS = 10_000
"""How often the mere progress of the stream is kept."""
EASE = 0.25
"""A transaction that takes this part of the time allowed could have been larger."""
UNSENDABLE = (400, 413, 422)
"""Answers that may mean the contents of a transaction rather than its sender."""


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How much is done at once, and how often."""

    in_flight: int = 40
    """Transactions under way to destinations that are well."""
    probes: int = 10
    """Transactions under way to destinations that have failed."""
    timeout_s: float = 60.0
    keep_every_s: float = 1.0
    start_gap_s: float = 0.05
    """Between the destinations that are tried after a start, on average."""
    longest_start_s: float = 60.0
    gather_s: float = 0.2
    """How long receipts and presence wait for company."""
    silence_ms: int = 10_000
    """If nobody answered for so long, it may have been our own link that was down."""
    retries: RetrySchedule = DESTINATION_RETRIES
    """For destinations that answer, but refuse."""


@dataclass(slots=True)
class SendingTally:
    """What has been sent since the start; `failures` are transactions that were not taken."""

    transactions: int = 0
    failures: int = 0
    pdus: int = 0
    edus: int = 0


@dataclass(frozen=True, slots=True)
class SendingState:
    """Where sending stands: transactions under way, servers that fail, events held in memory."""

    under_way: int
    failing: int
    pdus_waiting: int


class Sender:
    """The queues of all destinations, while `running`."""

    def __init__(
        self,
        requests: Requests,
        backlog: Backlog,
        backoff: Backoff,
        origin: ServerName,
        clock: Clock,
        random: Callable[[], float],
        settings: SenderSettings | None = None,
    ) -> None:
        self._requests = requests
        self._backlog = backlog
        self._backoff = backoff
        self._origin = origin
        self._clock = clock
        self._random = random
        self._settings = settings or SenderSettings()
        self._healthy_slots = asyncio.Semaphore(self._settings.in_flight)
        self._probe_slots = asyncio.Semaphore(self._settings.probes)
        session = f"{clock():x}{int(random() * 0x10000):04x}"
        self._packer = Packer(backlog, origin, clock, session)
        self._queues: dict[ServerName, DestinationQueue] = {}
        self._last_success_ts = 0
        """When any destination has last taken a transaction."""
        self._group: asyncio.TaskGroup | None = None
        self._ledger = Ledger(0)
        self._kept_ts = 0
        self.replaced = asyncio.Event()
        """Set when another process has taken over the sending."""
        self.tally = SendingTally()
        backoff.listen(self.destination_is_back)

    @asynccontextmanager
    async def running(self, position: int) -> AsyncIterator[None]:
        """Send for as long as the block runs; the stream is handed over after `position`."""
        self._ledger = Ledger(position)
        self._last_success_ts = self._clock()
        self.replaced.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._resume(await self._backlog.waiting_destinations())
                keeping = group.create_task(self._keep_forever())
                try:
                    yield
                finally:
                    keeping.cancel()
                    self._stop()
        finally:
            self._group = None
            await self._keep_all()

    def distribute(
        self, pdus: Iterable[tuple[OutgoingPdu, Iterable[ServerName]]], position: int
    ) -> None:
        """Hand over the events of the next stretch of the stream, which ends at `position`."""
        for pdu, destinations in pdus:
            for destination in destinations:
                queue = self._queue(destination)
                queue.add(pdu, self._ledger.progress)
                self._start(queue)
        self._ledger.distributed = max(self._ledger.distributed, position)

    def edus_queued(self, destinations: Iterable[ServerName]) -> None:
        """EDUs for these destinations were stored."""
        for destination in destinations:
            queue = self._queue(destination)
            queue.has_edus = True
            self._start(queue)

    def send_typing(self, destinations: Iterable[ServerName], typist: Typist) -> None:
        """Tell that somebody types or has stopped."""
        for queue in self._hearing(destinations):
            queue.best_effort.add_typing(typist)
            self._start(queue)

    def send_receipt(self, destinations: Iterable[ServerName], receipt: Receipt) -> None:
        """Tell what somebody has read."""
        for queue in self._hearing(destinations):
            queue.best_effort.add_receipt(receipt)
            self._start_soon(queue)

    def send_presence(self, destinations: Iterable[ServerName], update: PresenceUpdate) -> None:
        """Tell how present somebody is."""
        now_ts = self._clock()
        for queue in self._hearing(destinations):
            queue.best_effort.add_presence(update, now_ts)
            self._start_soon(queue)

    def destination_is_back(self, destination: ServerName) -> None:
        """A destination that has failed was heard of: try it now."""
        queue = self._queues.get(destination)
        if queue is not None and queue.timer is not None:
            self._start_after(queue, 0)

    @property
    def state(self) -> SendingState:
        """Where sending stands at this moment."""
        queues = self._queues.values()
        return SendingState(
            under_way=sum(queue.in_flight is not None for queue in queues),
            failing=sum(queue.failures > 0 for queue in queues),
            pdus_waiting=sum(len(queue.live) for queue in queues),
        )

    def _queue(self, destination: ServerName) -> DestinationQueue:
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = DestinationQueue(destination, has_backlog=False)
            queue.edus_after = self._ledger.delivered_edus(destination)
        return queue

    def _hearing(self, destinations: Iterable[ServerName]) -> Iterable[DestinationQueue]:
        """The queues of those destinations that may still want to hear what passes by."""
        now_ts = self._clock()
        for destination in destinations:
            queue = self._queue(destination)
            if not queue.failures or now_ts - queue.failing_since < TOLD_FOR_MS:
                yield queue

    def _resume(self, waiting: Iterable[ServerName]) -> None:
        names = list(waiting)
        settings = self._settings
        spread_s = min(len(names) * settings.start_gap_s, settings.longest_start_s)
        for name in names:
            queue = self._queues[name] = DestinationQueue(name, has_backlog=True)
            self._start_after(queue, self._random() * spread_s)

    def _start(self, queue: DestinationQueue) -> None:
        """Send what a queue holds, unless it waits for its time."""
        if queue.timer is None or not (queue.failures or queue.is_unread):
            self._start_after(queue, 0)

    def _start_soon(self, queue: DestinationQueue) -> None:
        if queue.timer is None and queue.task is None:
            self._start_after(queue, self._settings.gather_s)

    def _start_after(self, queue: DestinationQueue, delay_s: float) -> None:
        if queue.timer is not None:
            queue.timer.cancel()
            queue.timer = None
        if self._group is None or queue.task is not None:
            return
        if delay_s > 0:
            loop = asyncio.get_running_loop()
            queue.timer = loop.call_later(delay_s, self._start_after, queue, 0)
            return
        name = f"send to {queue.destination}"
        queue.task = self._group.create_task(self._work(queue), name=name)

    async def _work(self, queue: DestinationQueue) -> None:
        """Send until nothing is left or the destination fails."""
        pause_s: float | None = None
        try:
            pause_s = await self._wait_of(queue)
            while pause_s is None:
                transaction = await self._packer.next(queue, self._ledger)
                if transaction is None:
                    break
                pause_s = await self._send(queue, transaction)
        except MatrixError as error:
            log.warning("Nothing can be sent to %s just now: %s", queue.destination, error)
            pause_s = self._interrupted(queue)
        except Exception:
            log.exception("Sending to %s has failed", queue.destination)
            pause_s = self._interrupted(queue)
        finally:
            queue.in_flight = None
            queue.task = None
        if pause_s is not None:
            self._start_after(queue, pause_s)
        elif queue.has_work(self._ledger.distributed):
            self._start_after(queue, 0)
        else:
            self._queues.pop(queue.destination, None)

    def _interrupted(self, queue: DestinationQueue) -> float:
        """Something on our own side went wrong; how long to wait."""
        queue.failures += 1
        queue.retreat(self._ledger.progress)
        transaction = queue.in_flight or queue.kept
        if transaction is not None:
            self._dissolve(queue, transaction)
        return self._refused_delay_ms(queue) / 1000

    async def _wait_of(self, queue: DestinationQueue) -> float | None:
        """How long a destination that failed before this queue was made is to be left alone."""
        if queue.is_known:
            return None
        queue.is_known = True
        state = await self._backoff.state_of(queue.destination)
        now_ts = self._clock()
        if now_ts >= state.retry_at_ts:
            return None
        queue.failures, queue.failing_since = state.failures, state.last_success_ts
        self._backoff.miss(queue.destination, state.last_success_ts)
        queue.retreat(self._ledger.progress)
        return (state.retry_at_ts - now_ts) / 1000

    async def _send(
        self, queue: DestinationQueue, transaction: OutgoingTransaction
    ) -> float | None:
        """Send a transaction; how long to wait before the next, None if there is no need."""
        queue.in_flight = transaction
        try:
            async with self._probe_slots if queue.failures else self._healthy_slots:
                answer = await self._requests.request(
                    queue.destination,
                    "PUT",
                    f"/_matrix/federation/v1/send/{transaction.txn_id}",
                    body=transaction.body,
                    timeout_s=self._settings.timeout_s,
                    max_bytes=MAX_ANSWER_BYTES,
                    backoff=False,
                )
        except FederationError as error:
            return await self._failed(queue, transaction, error)
        self._succeeded(queue, transaction)
        log_refusals(queue.destination, answer)
        return None

    def _succeeded(self, queue: DestinationQueue, transaction: OutgoingTransaction) -> None:
        queue.failures = queue.failing_since = 0
        self.tally.transactions += 1
        self.tally.pdus += len(transaction.pdus)
        self.tally.edus += transaction.edus
        self._settle(queue, transaction)
        before_ts, self._last_success_ts = self._last_success_ts, self._clock()
        if self._last_success_ts - before_ts >= self._settings.silence_ms:
            self._link_is_back(before_ts)

    def _settle(self, queue: DestinationQueue, transaction: OutgoingTransaction) -> None:
        """A transaction is done with."""
        queue.in_flight = queue.kept = None
        queue.refusals = 0
        if queue.singly:
            queue.singly -= 1
        if self._clock() - transaction.began_ts < self._settings.timeout_s * EASE * 1000:
            queue.grow()
        ledger = self._ledger
        queue.settle(transaction.pdus, transaction.covered, ledger.distributed, ledger.progress)
        if transaction.edus_upto is not None:
            queue.edus_after = ledger.progress.edus[queue.destination] = transaction.edus_upto

    async def _failed(
        self, queue: DestinationQueue, transaction: OutgoingTransaction, error: FederationError
    ) -> float | None:
        """Give up for now; how long to wait."""
        self.tally.failures += 1
        if isinstance(error, NotFederating):
            log.info("Nothing is sent any more: %s", error)
            queue.abandon(self._ledger.progress)
            return None
        queue.failures += 1
        queue.failing_since = queue.failing_since or self._clock()
        log.info("Sending has failed for the %d. time: %s", queue.failures, error)
        queue.retreat(self._ledger.progress)
        if not error.reachable:
            queue.shrink(transaction)
        if error.answer_status in UNSENDABLE:
            queue.refusals += 1
            if transaction.items <= 1 and queue.refusals >= SKIPPED_AFTER:
                log.warning("An item of %s is given up: %s", transaction.txn_id, error)
                queue.failures = queue.failing_since = 0
                self._settle(queue, transaction)
                return None
            queue.singly = max(queue.singly, transaction.items, 1)
            self._dissolve(queue, transaction)
        elif queue.failures <= KEPT_FAILURES and len(transaction.body) <= KEPT_BYTES:
            queue.kept = transaction
        else:
            self._dissolve(queue, transaction)
        queue.in_flight = None
        return await self._delay_s(queue, error)

    def _dissolve(self, queue: DestinationQueue, transaction: OutgoingTransaction) -> None:
        """What was in a transaction is to be sent in others."""
        queue.kept = None
        queue.has_edus = queue.has_edus or transaction.edus_upto is not None
        if self._clock() - queue.failing_since < TOLD_FOR_MS:
            queue.best_effort.put_back(transaction.told)
        else:
            queue.best_effort.clear()

    async def _delay_s(self, queue: DestinationQueue, error: FederationError) -> float:
        if is_sick(error):
            state = await self._backoff.state_of(queue.destination)
            delay_ms = state.retry_at_ts - self._clock()
            if delay_ms <= 0:
                delay_ms = self._refused_delay_ms(queue)
        else:
            delay_ms = self._refused_delay_ms(queue)
        return max(delay_ms, error.retry_after_ms or 0) / 1000

    def _refused_delay_ms(self, queue: DestinationQueue) -> int:
        return self._settings.retries.delay_ms(queue.failures, self._random())

    def _link_is_back(self, silent_since: int) -> None:
        """A destination answers after a silence of all: try those that fell silent with it.

        It was our own link that was down, or they are tried once too often.
        """
        fallen = [
            queue
            for queue in self._queues.values()
            if queue.failures and queue.timer is not None
            if queue.failing_since > silent_since - FALLEN_BEFORE_MS
        ]
        spread_s = 1 + min(len(fallen) * self._settings.start_gap_s, self._settings.longest_start_s)
        for queue in fallen:
            self._start_after(queue, self._random() * spread_s)

    async def _keep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.keep_every_s)
            await self.keep()

    async def keep(self) -> None:
        """Keep what has been sent, if it is worth it."""
        now_ts = self._clock()
        for queue in self._queues.values():
            flying = queue.in_flight
            if flying is not None and now_ts - flying.began_ts > STALLED_AFTER_MS:
                queue.retreat(self._ledger.progress)
        position = self._settled_position()
        is_due = position > self._ledger.kept_position and now_ts - self._kept_ts >= IDLE_KEEP_MS
        if is_due or not self._ledger.progress.is_empty:
            await self._keep(position)

    async def _keep(self, position: int) -> None:
        self._kept_ts = self._clock()
        try:
            is_ours = await self._ledger.keep(self._backlog, position)
        except MatrixError as error:
            log.warning("What was sent could not be kept: %s", error)
            return
        if not is_ours:
            log.warning("Another process has taken over the sending")
            self.replaced.set()

    async def _keep_all(self) -> None:
        """Keep for the next start all that is not sent."""
        for queue in self._queues.values():
            queue.retreat(self._ledger.progress)
        if not self.replaced.is_set():
            await self._keep(self._settled_position())
        self._queues.clear()

    def _settled_position(self) -> int:
        held = [queue.oldest_held() for queue in self._queues.values()]
        return min(
            [self._ledger.distributed, *(oldest - 1 for oldest in held if oldest is not None)]
        )

    def _stop(self) -> None:
        self._group = None
        for queue in self._queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
            if queue.task is not None:
                queue.retreat(self._ledger.progress)
                queue.task.cancel()


def log_refusals(destination: ServerName, answer: Any) -> None:
    """Say which events a destination has refused."""
    pdus = answer.get("pdus") if isinstance(answer, Mapping) else None
    if not isinstance(pdus, Mapping):
        return
    for event_id, result in pdus.items():
        error = result.get("error") if isinstance(result, Mapping) else None
        if error is not None:
            log.info("%s refuses %s: %.200s", destination, event_id, error)
