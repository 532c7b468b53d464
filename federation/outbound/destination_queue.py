"""What one destination still has to get, as far as it is in memory. No I/O.

Events come in the order of the stream and wait in `live` while the destination is well. When it
fails, or falls far behind, what waits is given up and the rooms are marked instead: from this
position on the destination lacks the events of that room. Marks are few, they are kept in the
database, and what they stand for is read back from the events themselves. While a room is marked
its new events are not queued, because the reading will come to them. A mark moves on with each
transaction that is delivered, and goes once it is past everything that the stream has brought.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.outbound.best_effort import BestEffort, Told
from federation.outbound.queue_ports import MissedPdus, OutgoingPdu, Progress, RoomMark
from federation.protocol.identifiers import ServerName

MAX_LIVE = 200
"""Events that wait in memory."""
MAX_LIVE_BYTES = 1_000_000
MAX_BYTES = 512 * 1024
"""Events, and likewise EDUs, of a transaction; a larger one has one item only."""
LEAST_BYTES = 16 * 1024
"""The same for a destination that nothing larger reaches in time."""


@dataclass(frozen=True, slots=True)
class OutgoingTransaction:
    """A transaction as it is sent, and sent again under the same ID.

    `covered` says which marked rooms are done up to where, `edus_upto` up to which position the
    queued EDUs are in it; `items` counts what must not be lost, `edus` all EDUs.
    """

    txn_id: str
    body: bytes
    pdus: Sequence[OutgoingPdu]
    covered: Mapping[int, int]
    edus_upto: int | None
    told: Told
    items: int
    edus: int
    began_ts: int


class DestinationQueue:
    """One destination; `is_unread` until the marks that were kept are known here."""

    __slots__ = (
        "_live_bytes",
        "best_effort",
        "destination",
        "edus_after",
        "failing_since",
        "failures",
        "has_edus",
        "in_flight",
        "is_known",
        "is_unread",
        "kept",
        "live",
        "max_bytes",
        "missed",
        "refusals",
        "singly",
        "task",
        "timer",
    )

    def __init__(self, destination: ServerName, *, has_backlog: bool) -> None:
        self.destination = destination
        self.live: deque[OutgoingPdu] = deque()
        self._live_bytes = 0
        self.missed: dict[int, int] = {}
        """The marked rooms, each with the first position of what is missed."""
        self.is_unread = has_backlog
        self.has_edus = has_backlog
        self.edus_after = 0
        """Up to here the queued EDUs are delivered."""
        self.best_effort = BestEffort()
        self.in_flight: OutgoingTransaction | None = None
        self.kept: OutgoingTransaction | None = None
        """A transaction that failed and is sent again as it was."""
        self.max_bytes = MAX_BYTES
        self.singly = 0
        """So many items more are sent one at a time, because all together were refused."""
        self.refusals = 0
        """How often in a row the destination did not take what was sent, though it answered."""
        self.is_known = False
        """Whether the destination's health was looked up."""
        self.failures = 0
        self.failing_since = 0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def has_work(self, distributed: int) -> bool:
        """Whether there is anything to send now; what comes after `distributed` comes later."""
        return bool(
            self.live
            or self.is_unread
            or self.has_edus
            or self.kept
            or self.best_effort
            or any(missed_from <= distributed for missed_from in self.missed.values())
        )

    def oldest_missed(self, limit: int, distributed: int) -> dict[int, int]:
        """The marked rooms whose turn it is, those that miss something for longest in front."""
        due = [(at, room) for room, at in self.missed.items() if at <= distributed]
        return {room: at for at, room in sorted(due)[:limit]}

    def add(self, pdu: OutgoingPdu, progress: Progress) -> None:
        """The destination is to get an event that is later than all before."""
        if self.failures or self.is_unread or pdu.room in self.missed:
            self._mark(pdu, progress)
            return
        self.live.append(pdu)
        self._live_bytes += len(pdu.encoded)
        if len(self.live) > MAX_LIVE or self._live_bytes > MAX_LIVE_BYTES:
            self.retreat(progress)

    def retreat(self, progress: Progress) -> None:
        """Mark the rooms of everything that is not delivered, and hold no events any more."""
        for transaction in (self.kept, self.in_flight):
            for pdu in transaction.pdus if transaction is not None else ():
                self._mark(pdu, progress)
        for pdu in self.live:
            self._mark(pdu, progress)
        self.live.clear()
        self._live_bytes = 0

    def load(self, kept: Mapping[int, int], progress: Progress) -> None:
        """The marks that were kept, beside those made since."""
        for room, missed_from in kept.items():
            self.missed[room] = min(missed_from, self.missed.get(room, missed_from))
        self.is_unread = False
        for room, missed_from in self.missed.items():
            if kept.get(room) != missed_from:
                self._note(room, progress)

    def take_live(self, limit: int, max_bytes: int) -> list[OutgoingPdu]:
        """The next events in memory, at least one if there is any and `limit` allows it."""
        taken: list[OutgoingPdu] = []
        size = 0
        while self.live and len(taken) < limit:
            size += len(self.live[0].encoded)
            if taken and size > max_bytes:
                break
            taken.append(self.live.popleft())
            self._live_bytes -= len(taken[-1].encoded)
        return taken

    def settle(
        self,
        pdus: Iterable[OutgoingPdu],
        covered: Mapping[int, int],
        distributed: int,
        progress: Progress,
    ) -> None:
        """Events are delivered, and marked rooms done up to some positions.

        `distributed` is the position up to which the stream has been handed to the queues. A mark
        before the events, made since they were packed, stands.
        """
        done, begins = dict(covered), dict[int, int]()
        for pdu in pdus:
            done[pdu.room] = max(pdu.position, done.get(pdu.room, 0))
            if pdu.room not in covered:
                begins[pdu.room] = min(pdu.position, begins.get(pdu.room, pdu.position))
        for room, upto in done.items():
            missed_from = self.missed.get(room)
            if missed_from is None or not begins.get(room, 0) <= missed_from <= upto:
                continue
            if upto >= distributed:
                del self.missed[room]
            else:
                self.missed[room] = upto + 1
            self._note(room, progress)

    def shrink(self, transaction: OutgoingTransaction) -> None:
        """No answer came to a transaction: it may have been too large for the link."""
        size = len(transaction.body)
        if size > LEAST_BYTES:
            self.max_bytes = max(min(self.max_bytes, size) // 2, LEAST_BYTES)

    def grow(self) -> None:
        """A transaction got through with ease."""
        self.max_bytes = min(self.max_bytes * 2, MAX_BYTES)

    def oldest_held(self) -> int | None:
        """The position of the first event that is neither delivered nor marked."""
        flying = self.in_flight.pdus if self.in_flight is not None else ()
        held = [pdu.position for pdu in flying if not self._is_marked(pdu)]
        if self.live:
            held.append(self.live[0].position)
        return min(held, default=None)

    def abandon(self, progress: Progress) -> None:
        """The destination gets nothing, now or later."""
        self.live.clear()
        self._live_bytes = 0
        self.kept = None
        self.best_effort.clear()
        rooms, self.missed = list(self.missed), {}
        for room in rooms:
            self._note(room, progress)
        self.has_edus = False

    def _mark(self, pdu: OutgoingPdu, progress: Progress) -> None:
        if not self._is_marked(pdu):
            self.missed[pdu.room] = pdu.position
            self._note(pdu.room, progress)

    def _is_marked(self, pdu: OutgoingPdu) -> bool:
        missed_from = self.missed.get(pdu.room)
        return missed_from is not None and missed_from <= pdu.position

    def _note(self, room: int, progress: Progress) -> None:
        mark = RoomMark(self.missed.get(room), is_new=self.is_unread)
        progress.marks[self.destination, room] = mark


def trim(missed: MissedPdus, max_bytes: int) -> MissedPdus:
    """As many of the events, from the first on, as `max_bytes` hold, but at least one."""
    size = 0
    for count, pdu in enumerate(missed.pdus):
        size += len(pdu.encoded)
        if count and size > max_bytes:
            return _first(missed, count)
    return missed


def _first(missed: MissedPdus, count: int) -> MissedPdus:
    kept, dropped = missed.pdus[:count], missed.pdus[count:]
    cut = {pdu.room for pdu in dropped}
    covered = {room: upto for room, upto in missed.covered.items() if room not in cut}
    for pdu in kept:
        if pdu.room in cut:
            covered[pdu.room] = pdu.position
    return MissedPdus(kept, covered)
