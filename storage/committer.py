"""The one writer of a process: gathers writes, gives positions, commits, tells the readers.

Callers hand in submissions of one or more writes. While a transaction is under way, further
submissions gather; the next transaction takes them all. Inside it the row of `stream` is updated
first: its lock is held until the commit, also against other processes, so the order of positions
is the order of commits and readers never miss one. The writes of a batch are stored kind by kind
with multi-row statements.

When a batch fails, its submissions are tried again one by one, so that each caller gets its own
error and nobody that of a stranger. When the connection is lost, all of them fail: whether the
last commit went through is then unknown, and the transaction IDs of clients sort that out.
"""

import asyncio
import contextlib
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import asyncpg

from storage.changes import Change
from storage.database import (
    LOST_CONNECTION,
    Database,
    DatabaseAway,
    DatabaseUnavailable,
    connect,
)

MAX_BATCH = 500
"""Submissions that one transaction takes at most."""

TAKE_POSITIONS = """
    UPDATE stream
       SET position = position + $1
 RETURNING position, cardinality(peers)
"""

RECONNECT_PAUSE_S = 0.2
CHANNEL = "hearth_stream"
PEER_LOCK = 0x68656172
"""The first key of the advisory locks by which processes show that they are alive."""

JOIN_PEERS = """
    UPDATE stream
       SET peers = ARRAY(
           SELECT objid::integer
             FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND classid::integer = $1
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (objid::integer = ANY(peers) OR objid::integer = $2))
 RETURNING position
"""

END_OWN_FORMER = """
    SELECT pg_terminate_backend(pid)
      FROM pg_locks
     WHERE locktype = 'advisory' AND granted AND classid::integer = $1 AND objid::integer = $2
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""PostgreSQL may not have noticed that this process has lost its former connection, which then
still holds the process's lock, and perhaps that of the stream."""

LEAVE_PEERS = "UPDATE stream SET peers = array_remove(peers, $1)"

SelfWrite = TypeVar("SelfWrite", bound="Write")


class Write(ABC):
    """One piece of a commit. Subclasses are small records; all of a kind are stored together."""

    __slots__ = ()

    order: ClassVar[int] = 50
    """Kinds are stored in this order within a transaction, lowest first."""

    @property
    def positions(self) -> int:
        """How many stream positions the write takes."""
        return 1

    @classmethod
    @abstractmethod
    async def store(
        cls: type[SelfWrite], db: Database, placed: Sequence[tuple[SelfWrite, int]]
    ) -> None:
        """Write all of them, each with the last of its positions (if it has any)."""

    def changes(self, position: int) -> Sequence[Change]:
        """What readers hear of the write, given the last of its positions."""
        del position
        return ()


Maker = Callable[[], Awaitable[Sequence[Write]]]


@dataclass(slots=True)
class Batches:
    """What a committer has done since it was made."""

    count: int = 0
    submissions: int = 0
    seconds: float = 0.0
    """How long the batches took, one after the other."""


@dataclass(slots=True)
class _Submission:
    writes: Sequence[Write]
    done: "asyncio.Future[int]"
    make: "Maker | None" = None


class Committer:
    """Runs as one task; `submit` hands in work and gives a future of its last position.

    `published(before, after, changes)` is called after each commit, before any caller hears of
    it, with the positions that the stream stood at before and after. `heard` are the channels on
    which other processes are listened to, with what takes their notifications; on `CHANNEL` come
    the positions to which they moved the stream. `lost` is called when the connection is lost, and
    with it what others said meanwhile but for the position of the stream.
    """

    def __init__(
        self,
        dsn: str,
        published: Callable[[int, int, Sequence[Change]], Awaitable[None]],
        heard: Mapping[str, Callable[[str], None]],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._published = published
        self._heard = heard
        self._lost = lost
        self._number = secrets.randbelow(2**31)
        self._queue: deque[_Submission] = deque()
        self._gathered = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._closing = False
        self._is_aborted = False
        self.is_running = False
        """Whether what is submitted gets committed."""
        self.batch_began_s: float | None = None
        """When the transaction that is under way began, by the monotonic clock."""
        self.done = Batches()

    @property
    def queue_length(self) -> int:
        """The submissions that wait for the next transaction."""
        return len(self._queue)

    def submit(self, *writes: Write) -> "asyncio.Future[int]":
        """Queue writes that are stored together or not at all; the result is their last position.

        The future raises what `store` raised, or `DatabaseUnavailable`.
        """
        return self._enqueue(writes, None)

    def submit_alone(self, make: Maker) -> "asyncio.Future[int]":
        """Queue writes that are made when nobody else, in no process, can commit anything.

        What `make` reads cannot change before its writes are stored. All writers wait for it, so
        it is for those who were overtaken again and again. It must not wait for a commit.
        """
        return self._enqueue((), make)

    def _enqueue(self, writes: Sequence[Write], make: Maker | None) -> "asyncio.Future[int]":
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._closing:
            done.set_exception(DatabaseUnavailable())
            return done
        self._queue.append(_Submission(writes, done, make))
        self._gathered.set()
        return done

    async def commit(self, *writes: Write) -> int:
        """Queue writes and wait for their commit; the caller's cancellation does not undo them."""
        return await asyncio.shield(self.submit(*writes))

    @property
    def number(self) -> int:
        """The number of this process among those that share the database.

        While it lives it holds the advisory lock of this number under `PEER_LOCK`.
        """
        return self._number

    async def run(self) -> None:
        """Commit what gathers until `close` is called and the queue is empty.

        However it ends, whoever still waits for a commit hears that there is none.
        """
        self.is_running = True
        try:
            while not (self._closing and not self._queue):
                await self._gathered.wait()
                self._gathered.clear()
                await self._listen_again()
                while self._queue:
                    await self._commit_next()
        finally:
            self.is_running = False
            self._closing = True
            _fail(self._queue, DatabaseUnavailable())
            self._queue.clear()
        await self._leave()

    def close(self) -> None:
        """Take no more work; `run` ends once what was taken is committed."""
        self._closing = True
        self._gathered.set()

    def abort(self) -> None:
        """Wait for PostgreSQL no longer: what is not committed fails, and `run` ends."""
        self.close()
        self._is_aborted = True
        self._drop_connection()

    def _take_batch(self) -> list[_Submission]:
        """What the next transaction stores: what has gathered, or one that wants to be alone."""
        batch = [self._queue.popleft()]
        while self._queue and len(batch) < MAX_BATCH:
            if batch[-1].make is not None or self._queue[0].make is not None:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _commit_next(self) -> None:
        batch = self._take_batch()
        began_s = self.batch_began_s = time.monotonic()
        try:
            await self._commit_batch(batch)
        finally:
            # If telling of it has failed, this process ends: whoever waits is to hear of that.
            _fail(batch, DatabaseUnavailable())
        self.batch_began_s = None
        self.done.count += 1
        self.done.submissions += len(batch)
        self.done.seconds += time.monotonic() - began_s

    async def _commit_batch(self, batch: list[_Submission]) -> None:
        try:
            placed, after = await self._transact(batch)
        except LOST_CONNECTION:
            self._drop_connection()
            _fail(batch, DatabaseUnavailable())
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for submission in batch:
                await self._commit_batch([submission])
        else:
            await self._tell(batch, placed, after)

    async def _transact(self, batch: list[_Submission]) -> tuple[list[tuple[Write, int]], int]:
        connection = await self._connected()
        async with connection.transaction():
            if (make := batch[0].make) is not None:
                await connection.fetchrow(TAKE_POSITIONS, 0)
                batch[0].writes = await make()
            writes = [write for submission in batch for write in submission.writes]
            total = sum(write.positions for write in writes)
            after, peers = await connection.fetchrow(TAKE_POSITIONS, total)
            placed = _place(writes, after - total)
            for kind, items in sorted(_by_kind(placed).items(), key=_storing_order):
                await kind.store(connection, items)
            if peers > 1:
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(after))
        return placed, after

    async def _tell(
        self, batch: list[_Submission], placed: list[tuple[Write, int]], after: int
    ) -> None:
        position = after - sum(write.positions for write, _ in placed)
        changes = [change for write, last in placed for change in write.changes(last)]
        await self._published(position, after, changes)
        for submission in batch:
            position += sum(write.positions for write in submission.writes)
            if not submission.done.done():
                submission.done.set_result(position)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            if self._is_aborted:
                raise DatabaseAway("the database is not waited for any more")
            connection = self._connection = await connect(self._dsn)
            try:
                await self._join(connection)
            except BaseException:
                connection.terminate()
                raise
        return self._connection

    async def _join(self, connection: asyncpg.Connection) -> None:
        for channel in self._heard:
            await connection.add_listener(channel, self._hear)
        await connection.execute(END_OWN_FORMER, PEER_LOCK, self._number)
        await connection.execute("SELECT pg_advisory_lock($1, $2)", PEER_LOCK, self._number)
        position = await connection.fetchval(JOIN_PEERS, PEER_LOCK, self._number)
        connection.add_termination_listener(self._notice_loss)
        if CHANNEL in self._heard:
            self._heard[CHANNEL](str(position))

    async def _listen_again(self) -> None:
        """Connect anew after a loss, although there may be nothing to write, so as to hear."""
        if self._connection is not None and self._connection.is_closed() and not self._queue:
            try:
                await self._connected()
            except LOST_CONNECTION:
                await asyncio.sleep(RECONNECT_PAUSE_S)
                self._gathered.set()

    def _notice_loss(self, _connection: Any) -> None:
        self._lost()
        self._gathered.set()

    async def open(self) -> None:
        """Connect and be known to other processes, so that they tell of what they write."""
        await self._connected()

    async def _leave(self) -> None:
        """Be known no more. Without the database nobody needs to be told: our lock is gone too."""
        if self._connection is not None and not self._connection.is_closed():
            with contextlib.suppress(*LOST_CONNECTION):
                await self._connection.execute(LEAVE_PEERS, self._number)
                await self._connection.close()

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        self._heard[channel](payload)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


def _place(writes: Sequence[Write], before: int) -> list[tuple[Write, int]]:
    placed = []
    position = before
    for write in writes:
        position += write.positions
        placed.append((write, position))
    return placed


def _by_kind(placed: Sequence[tuple[Write, int]]) -> dict[type[Write], list[tuple[Write, int]]]:
    kinds: dict[type[Write], list[tuple[Write, int]]] = {}
    for item in placed:
        kinds.setdefault(type(item[0]), []).append(item)
    return kinds


def _storing_order(item: tuple[type[Write], Any]) -> int:
    return item[0].order


def _fail(batch: Sequence[_Submission], error: Exception) -> None:
    for submission in batch:
        if not submission.done.done():
            submission.done.set_exception(error)
