"""The way to PostgreSQL: a four-method protocol, a pool that survives restarts, transactions.

`Database` is what storage functions take: the pool itself for a single read, or the connection
of a transaction whose holder decides what is atomic.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import asyncpg

from federation.protocol.errors import MatrixError

log = logging.getLogger("hearth.database")

T = TypeVar("T")
Row = Sequence[Any]

LOST_CONNECTION = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    ConnectionError,
    OSError,
)
"""What asyncpg raises when the server behind a connection is gone or not there yet."""

PATIENCE_S = 30.0
"""How long a read waits for a PostgreSQL that restarts."""
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_COUNT = 3
UNACKNOWLEDGED_MS = 60_000
"""A connection over a network is given up, by both sides, when the other one is silent for so long:
otherwise a commit would wait for a quarter of an hour, and a backend whose server is gone keep the
locks of its transaction for hours."""


class DatabaseUnavailable(MatrixError):
    """PostgreSQL cannot be reached; nothing that was asked for is known to have happened."""

    status: ClassVar[int] = 503

    def __init__(self) -> None:
        super().__init__("The database is not reachable just now; try again")


class DatabaseAway(ConnectionError):
    """Nobody answers where the database should be, or it cannot be reached from here."""


class Database(Protocol):
    """What runs queries: a pool or the connection of a transaction."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""

    async def execute(self, query: str, *args: Any) -> str:
        """No rows; PostgreSQL's status line."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How many connections a pool has open, and how many of these nobody uses."""

    open: int
    idle: int


class Pool:
    """Connections for reading, and for transactions of their own.

    Single queries wait out a restart of PostgreSQL and are then run again, so they must be safe
    to repeat: reads, or writes that end the same when done twice.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._patience_s = PATIENCE_S
        self._cutting: asyncio.TimerHandle | None = None

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        return await self._patiently(lambda: self._pool.fetch(query, *args))

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""
        return await self._patiently(lambda: self._pool.fetchrow(query, *args))

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        return await self._patiently(lambda: self._pool.fetchval(query, *args))

    async def execute(self, query: str, *args: Any) -> str:
        """No rows; PostgreSQL's status line."""
        return await self._patiently(lambda: self._pool.execute(query, *args))

    async def executemany(self, query: str, args: Sequence[Row]) -> None:
        """The query once for each row of arguments, all or none."""
        await self._patiently(lambda: self._pool.executemany(query, args))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        """A connection inside a transaction: committed on leaving, rolled back on an exception.

        Raises `DatabaseUnavailable` when the connection is lost; whether the transaction was
        committed is then unknown only if it was lost during the commit.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection
        except LOST_CONNECTION as error:
            raise DatabaseUnavailable from error

    @property
    def use(self) -> PoolUse:
        """The connections at this moment."""
        return PoolUse(self._pool.get_size(), self._pool.get_idle_size())

    async def answers(self, within_s: float) -> bool:
        """Whether a connection is free and PostgreSQL answers on it, now and not after a retry."""
        try:
            async with asyncio.timeout(within_s):
                await self._pool.fetchval("SELECT 1")
        except (TimeoutError, asyncpg.PostgresError, *LOST_CONNECTION):
            return False
        return True

    def hurry(self, at_most_s: float) -> None:
        """The server ends: wait for no restart of PostgreSQL, and so long for an answer of it."""
        self._patience_s = 0.0
        self._cutting = asyncio.get_running_loop().call_later(at_most_s, self._cut)

    def _cut(self) -> None:
        log.warning("PostgreSQL does not answer; its connections are cut")
        self._pool.terminate()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
        if self._cutting is not None:
            self._cutting.cancel()

    async def _patiently(self, query: Callable[[], Awaitable[T]]) -> T:
        give_up_at: float | None = None
        delay = 0.02
        while True:
            try:
                return await query()
            except LOST_CONNECTION as error:
                now = asyncio.get_running_loop().time()
                give_up_at = give_up_at or now + self._patience_s
                if now + delay > give_up_at:
                    raise DatabaseUnavailable from error
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that notices when nobody answers on it."""

    __slots__ = ()

    def __init__(
        self, protocol: Any, transport: asyncio.Transport, *args: Any, **named: Any
    ) -> None:
        super().__init__(protocol, transport, *args, **named)
        watch(transport.get_extra_info("socket"))


def watch(connected: socket.socket) -> None:
    """Have the system find out when the other side of a TCP connection is gone."""
    if connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        for option, value in (
            (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
            (socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
            (socket.TCP_KEEPCNT, KEEPALIVE_COUNT),
            (socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS),
        ):
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


async def connect(dsn: str) -> asyncpg.Connection:
    """One connection with the session settings that all of ours have. Raises `DatabaseAway`."""
    try:
        return await asyncpg.connect(
            dsn, server_settings=SESSION, statement_cache_size=200, connection_class=Connection
        )
    except OSError as error:
        raise DatabaseAway(f"the database does not answer: {error}") from error


async def open_pool(dsn: str, size: int) -> Pool:
    """A pool of at most `size` connections, opened as they are needed."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        max_inactive_connection_lifetime=60,
        statement_cache_size=200,
        server_settings=SESSION,
        connection_class=Connection,
        reset=_keep_session,
    )
    return Pool(pool)


SESSION = {
    "application_name": "hearth",
    "timezone": "UTC",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "tcp_keepalives_idle": str(KEEPALIVE_IDLE_S),
    "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_S),
    "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": str(UNACKNOWLEDGED_MS),
}
"""Every query looks its rows up by an index. Plans are made once, which may be while a table is
still empty: without the last setting they would read all of it, however large it has become."""


def array_literal(numbers: Iterable[int]) -> str:
    """The numbers as a PostgreSQL array literal.

    Arrays of unequal length have no other way into one statement's `unnest`.
    """
    return "{" + ",".join(map(str, numbers)) + "}"


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Reset nothing when a connection goes back: we leave no session state, and it costs a trip."""
