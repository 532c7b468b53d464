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
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import asyncpg

from storage.changes import Change
from storage.database import LOST_CONNECTION, Database, DatabaseUnavailable, connect

MAX_BATCH = 500
"""Submissions that one transaction takes at most."""

TAKE_POSITIONS = """
    UPDATE stream
       SET position = position + $1
 RETURNING position, cardinality(peers)
"""

CHANNEL = "hearth_stream"

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


@dataclass(slots=True)
class _Submission:
    writes: tuple[Write, ...]
    done: "asyncio.Future[int]"


class Committer:
    """Runs as one task; `submit` hands in work and gives a future of its last position.

    `published(before, after, changes)` is called after each commit, before any caller hears of
    it, with the positions that the stream stood at before and after. `notified(position)` is
    called when another process has moved the stream on.
    """

    def __init__(
        self,
        dsn: str,
        published: Callable[[int, int, Sequence[Change]], Awaitable[None]],
        notified: Callable[[int], None],
    ) -> None:
        self._dsn = dsn
        self._published = published
        self._notified = notified
        self._queue: deque[_Submission] = deque()
        self._gathered = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._closing = False

    def submit(self, *writes: Write) -> "asyncio.Future[int]":
        """Queue writes that are stored together or not at all; the result is their last position.

        The future raises what `store` raised, or `DatabaseUnavailable`.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._closing:
            done.set_exception(DatabaseUnavailable())
            return done
        self._queue.append(_Submission(writes, done))
        self._gathered.set()
        return done

    async def commit(self, *writes: Write) -> int:
        """Queue writes and wait for their commit; the caller's cancellation does not undo them."""
        return await asyncio.shield(self.submit(*writes))

    async def run(self) -> None:
        """Commit what gathers until `close` is called and the queue is empty."""
        while not (self._closing and not self._queue):
            await self._gathered.wait()
            self._gathered.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
                await self._commit_batch(batch)
        if self._connection is not None:
            await self._connection.close()

    def close(self) -> None:
        """Take no more work; `run` ends once what was taken is committed."""
        self._closing = True
        self._gathered.set()

    async def _commit_batch(self, batch: list[_Submission]) -> None:
        try:
            placed, after = await self._transact(batch)
        except LOST_CONNECTION:
            self._drop_connection()
            _fail(batch, DatabaseUnavailable())
        except asyncio.CancelledError:
            _fail(batch, DatabaseUnavailable())
            raise
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
        writes = [write for submission in batch for write in submission.writes]
        total = sum(write.positions for write in writes)
        async with connection.transaction():
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
            self._connection = await connect(self._dsn)
            await self._connection.add_listener(CHANNEL, self._hear)
        return self._connection

    async def open(self) -> None:
        """Connect, so that notifications are heard before anything is written."""
        await self._connected()

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self._notified(int(payload))

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


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
