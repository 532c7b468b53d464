"""Transactions of other servers: their events by room, then their EDUs, and one answer.

A transaction that comes again gets the same answer, and one that comes again while it is being
taken waits for it. Events are taken room by room, in their order; rooms do not wait for each other.
An answer of 200 says of each event that it is kept, or why it is refused.
Source: server-server API, "Transactions".
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from federation.inbound.edus import Edus
from federation.inbound.ports import SignedRequest
from federation.inbound.receiving_ports import (
    Clock,
    Fields,
    PduReceiver,
    ReceivedTransactions,
    RoomVersions,
    ServerAcls,
)
from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import InvalidParam, LimitExceeded, MatrixError
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId, RoomId, ServerName, is_within_bytes
from federation.protocol.room_versions import RoomVersion
from federation.protocol.transaction import Transaction, parse_transaction

log = logging.getLogger("hearth.transactions")

AT_ONCE = 3
"""Transactions of one server that are taken at once; it should send one after the other."""
MOST_WAITING = 10
"""Transactions of one server that wait for their turn; further ones are to come later."""
RETRY_AFTER_MS = 5_000
MAX_BODY_BYTES = 12 * 1_048_576
"""50 events and 100 EDUs of 64 KiB each, with some room."""

Results = dict[EventId, str | None]


class Turns:
    """Whose turn it is among the transactions of one server."""

    __slots__ = ("count", "slots")

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(AT_ONCE)
        self.count = 0
        """Transactions that are taken or wait."""


@dataclass(slots=True)
class ReceivingTally:
    """What has been received since the start; `refused` are PDUs too."""

    transactions: int = 0
    pdus: int = 0
    refused: int = 0
    edus: int = 0


class Transactions:
    """Takes transactions."""

    __slots__ = (
        "_acls",
        "_clock",
        "_edus",
        "_kept",
        "_pdus",
        "_turns",
        "_under_way",
        "_versions",
        "tally",
    )

    def __init__(
        self,
        pdus: PduReceiver,
        edus: Edus,
        kept: ReceivedTransactions,
        versions: RoomVersions,
        acls: ServerAcls,
        clock: Clock,
    ) -> None:
        self._pdus = pdus
        self._edus = edus
        self._kept = kept
        self._versions = versions
        self._acls = acls
        self._clock = clock
        self._turns: dict[ServerName, Turns] = {}
        self._under_way: dict[tuple[ServerName, str], asyncio.Future[bytes]] = {}
        self.tally = ReceivingTally()

    @property
    def waiting(self) -> int:
        """The transactions that are taken or wait for their turn."""
        return sum(turns.count for turns in self._turns.values())

    async def receive(self, origin: ServerName, txn_id: str, body: Mapping[str, Any]) -> bytes:
        """Take a transaction, or give the answer that it got before; the answer is JSON.

        Raises `BadJson` (too much in it), `Forbidden` (of another origin), `LimitExceeded` (too
        many at once), or an error of status 5xx when nothing can be taken just now.
        """
        if not is_within_bytes(txn_id) or "\0" in txn_id:
            raise InvalidParam("The transaction ID is too long")
        transaction = parse_transaction(body, origin)
        key = (origin, txn_id)
        under_way = self._under_way.get(key)
        if under_way is not None:
            return await asyncio.shield(under_way)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._under_way[key] = answered
        try:
            answer = await self._answer(key, transaction)
        except BaseException as error:
            answered.set_exception(error if isinstance(error, MatrixError) else interrupted())
            answered.exception()
            raise
        else:
            answered.set_result(answer)
        finally:
            del self._under_way[key]
        return answer

    async def _answer(self, key: tuple[ServerName, str], transaction: Transaction) -> bytes:
        origin, txn_id = key
        async with self._turn(origin):
            kept = await self._kept.find_answer(origin, txn_id)
            if kept is not None:
                return kept
            results = await self._take_pdus(origin, transaction.pdus)
            await self._edus.receive(origin, transaction.edus)
            answer = orjson.dumps({"pdus": {i: _told(error) for i, error in results.items()}})
            await self._kept.keep_answer(origin, txn_id, self._clock(), answer)
            self._count(transaction, results)
            return answer

    def _count(self, transaction: Transaction, results: Results) -> None:
        self.tally.transactions += 1
        self.tally.pdus += len(transaction.pdus)
        self.tally.refused += sum(error is not None for error in results.values())
        self.tally.edus += len(transaction.edus)

    @asynccontextmanager
    async def _turn(self, origin: ServerName) -> AsyncIterator[None]:
        """Wait for the server's turn. Raises `LimitExceeded`."""
        turns = self._turns.setdefault(origin, Turns())
        if turns.count >= AT_ONCE + MOST_WAITING:
            raise LimitExceeded(RETRY_AFTER_MS)
        turns.count += 1
        try:
            async with turns.slots:
                yield
        finally:
            turns.count -= 1
            if not turns.count:
                self._turns.pop(origin, None)

    async def _take_pdus(self, origin: ServerName, pdus: Sequence[Fields]) -> Results:
        by_room: dict[str, list[Fields]] = {}
        for fields in pdus:
            room_id = room_of(fields)
            if room_id is not None:
                by_room.setdefault(room_id, []).append(fields)
        denied = await self._acls.find_denied(origin, by_room) if by_room else set()
        done = await asyncio.gather(
            *(
                self._take_room(origin, room_id, events, is_denied=room_id in denied)
                for room_id, events in by_room.items()
            ),
            return_exceptions=True,
        )
        results: Results = {}
        for room_results in done:
            if isinstance(room_results, BaseException):
                raise room_results
            results |= room_results
        return results

    async def _take_room(
        self, origin: ServerName, room_id: str, events: Sequence[Fields], *, is_denied: bool
    ) -> Results:
        """Take a transaction's events of one room.

        An error of ours must not have the server send the same transaction for ever, so the
        events are refused; but while the database is away they are to be sent again.
        """
        version = await self._versions.find_version(room_id)
        if version is None:
            return refused(events, None, f"There is no room {room_id} here")
        if is_denied:
            return refused(events, version, f"The room does not let {origin} take part")
        try:
            return dict(await self._pdus.receive(origin, room_id, events))
        except MatrixError as error:
            if error.status >= 500:
                raise
            return refused(events, version, error.message)
        except Exception:
            log.exception("Events of %s from %s could not be taken", room_id, origin)
            return refused(events, version, "The event could not be processed")


def room_of(fields: Fields) -> RoomId | None:
    """The room of an event, None if it names none.

    In room version 12 the create event makes its room, and nobody else's room can be here already.
    """
    room_id = fields.get("room_id")
    return RoomId(room_id) if isinstance(room_id, str) and "\0" not in room_id else None


def refused(events: Sequence[Fields], version: RoomVersion | None, why: str) -> Results:
    """All the events refused, as far as they have names.

    Without a room version only events that bring their ID have one.
    """
    results: Results = {}
    for fields in events:
        event_id = fields.get("event_id")
        if version is not None:
            try:
                event_id = event_id_of(fields, version)
            except MatrixError:
                continue
        if isinstance(event_id, str):
            results[EventId(event_id)] = why
    return results


def interrupted() -> MatrixError:
    """What those are told who waited for a transaction that was cut off."""
    return Interrupted("The transaction was interrupted; send it again")


class Interrupted(MatrixError):
    """The same transaction was being taken, but did not come to its end."""

    status = 503


def _told(error: str | None) -> dict[str, str]:
    return {} if error is None else {"error": error}


class TransactionServices(Protocol):
    """The services of a server that takes transactions."""

    @property
    def transactions(self) -> Transactions:
        """Takes transactions."""


class TransactionCall(SignedRequest, Protocol):
    """A request that brings a transaction."""

    @property
    def services(self) -> TransactionServices:
        """What the server can do."""


@endpoint(
    "PUT",
    "/_matrix/federation/v1/send/{txnId}",
    Access.SERVER,
    max_body_bytes=MAX_BODY_BYTES,
    # An event that is nested too deeply is refused by itself, not all that came with it.
    max_depth=None,
)
async def send_transaction(call: TransactionCall) -> bytes:
    """Take the events and EDUs of a transaction; the same ID again gets the same answer.

    Errors: `BadJson` (more than 50 events or 100 EDUs), `Forbidden`, `LimitExceeded`.
    """
    return await call.services.transactions.receive(call.origin, call.path["txnId"], call.json)


ENDPOINTS = (send_transaction,)
