"""Making transactions: what is next for a destination, within the limits.

Events that wait in memory go first, then those of marked rooms, read back oldest room first; then
queued EDUs; and what is told by the way fills up the rest. To a destination that did not take a
transaction as a whole, its items go singly and nothing is told by the way, so that the one that is
to blame does not keep back the others.
"""

import itertools
from collections.abc import Iterable

from federation.outbound.destination_queue import DestinationQueue, OutgoingTransaction, trim
from federation.outbound.ledger import Ledger
from federation.outbound.ports import Clock
from federation.outbound.queue_ports import Backlog, MissedPdus, QueuedEdu
from federation.protocol.identifiers import ServerName
from federation.protocol.transaction import MAX_EDUS, MAX_PDUS, encode_transaction

MAX_QUEUED_EDUS = 80
"""Of the EDUs of a transaction; the others tell of typing, receipts and presence."""
ROOMS_AT_ONCE = 20
"""Marked rooms that are looked into for one transaction."""

NO_PDUS = MissedPdus((), {})


class Packer:
    """Makes transactions; `session` sets their IDs apart from those of other times."""

    def __init__(self, backlog: Backlog, origin: ServerName, clock: Clock, session: str) -> None:
        self._backlog = backlog
        self._origin = origin
        self._clock = clock
        self._session = session
        self._numbers = itertools.count()

    async def next(self, queue: DestinationQueue, ledger: Ledger) -> OutgoingTransaction | None:
        """The next transaction; None if there is nothing to send."""
        if queue.kept is not None:
            return queue.kept
        if queue.is_unread:
            kept = await self._backlog.missed_rooms(queue.destination)
            queue.load(kept, ledger.progress)
        while True:
            missed = await self._missed_pdus(queue, ledger.distributed)
            edus = () if queue.singly and missed.pdus else await self._queued_edus(queue)
            transaction = self._build(queue, missed, edus)
            if transaction is not None:
                return transaction
            if not missed.covered:
                return None
            # The stream may have gone on since, so what was handed over is asked for now.
            queue.settle((), missed.covered, ledger.distributed, ledger.progress)

    async def _missed_pdus(self, queue: DestinationQueue, distributed: int) -> MissedPdus:
        limit = 1 if queue.singly else MAX_PDUS
        free = limit - min(len(queue.live), limit)
        rooms = queue.oldest_missed(ROOMS_AT_ONCE, distributed)
        if not rooms or not free:
            return NO_PDUS
        missed = await self._backlog.missed_pdus(queue.destination, rooms, distributed, free)
        return trim(missed, queue.max_bytes)

    async def _queued_edus(self, queue: DestinationQueue) -> list[QueuedEdu]:
        if not queue.has_edus:
            return []
        limit = 1 if queue.singly else MAX_QUEUED_EDUS
        # More may be queued while these are read, so this is said before.
        queue.has_edus = False
        try:
            found = await self._backlog.queued_edus(queue.destination, queue.edus_after, limit)
        except BaseException:
            queue.has_edus = True
            raise
        taken = first_bytes(found, queue.max_bytes)
        queue.has_edus = queue.has_edus or len(found) == limit or len(taken) < len(found)
        return taken

    def _build(
        self, queue: DestinationQueue, missed: MissedPdus, edus: Iterable[QueuedEdu]
    ) -> OutgoingTransaction | None:
        size = sum(len(pdu.encoded) for pdu in missed.pdus)
        room_left = (1 if queue.singly else MAX_PDUS) - len(missed.pdus)
        pdus = [*missed.pdus, *queue.take_live(room_left, queue.max_bytes - size)]
        queued = [] if queue.singly and pdus else list(edus)
        if queue.singly:
            queue.best_effort.clear()
            queue.has_edus = queue.has_edus or bool(pdus)
        told = queue.best_effort.take(MAX_EDUS - len(queued))
        now_ts = self._clock()
        told_edus = [edu.encode() for edu in told.edus(now_ts)]
        if not pdus and not queued and not told_edus:
            return None
        return OutgoingTransaction(
            txn_id=f"{self._session}{next(self._numbers)}",
            body=encode_transaction(
                self._origin,
                now_ts,
                [pdu.encoded for pdu in pdus],
                [*(edu.encoded for edu in queued), *told_edus],
            ),
            pdus=pdus,
            covered=missed.covered,
            edus_upto=queued[-1].position if queued else None,
            told=told,
            items=len(pdus) + len(queued),
            edus=len(queued) + len(told_edus),
            began_ts=now_ts,
        )


def first_bytes(edus: Iterable[QueuedEdu], max_bytes: int) -> list[QueuedEdu]:
    """The first of the EDUs that `max_bytes` hold, at least one."""
    taken: list[QueuedEdu] = []
    size = 0
    for edu in edus:
        size += len(edu.encoded)
        if taken and size > max_bytes:
            break
        taken.append(edu)
    return taken
