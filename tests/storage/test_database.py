"""How connections to PostgreSQL are set up."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from storage.database import connect, open_pool

FIND_USERS = "SELECT user_nid FROM users WHERE user_id = ANY($1)"


async def test_a_plan_made_for_a_small_table_uses_its_index(database_url: str) -> None:
    """Plans are kept, and the table may be large when they are used."""
    connection = await connect(database_url)
    try:
        await connection.execute("INSERT INTO users (user_id) VALUES ('@first:test')")
        await connection.execute("ANALYZE users")
        await connection.execute(f"PREPARE by_id (text[]) AS {FIND_USERS}")
        rows = await connection.fetch("EXPLAIN EXECUTE by_id ('{@a:test,@b:test}')")
    finally:
        await connection.close()
    plan = "\n".join(row[0] for row in rows)
    assert "Index" in plan
    assert "Seq Scan" not in plan


@asynccontextmanager
async def by_tcp(database_url: str) -> AsyncIterator[str]:
    """The URL of a database by way of a port; the tests' PostgreSQL has none of its own."""
    before, _, directory = database_url.partition("?host=")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.5432")
        async with asyncio.TaskGroup() as both:
            both.create_task(hand_on(reader, far_writer))
            both.create_task(hand_on(far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield before.replace("@/", f"@127.0.0.1:{port}/") + "?sslmode=disable"
    finally:
        server.close()


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
    writer.close()


async def find_watched(database_url: str) -> list[tuple[int, ...]]:
    """For a single connection and one of a pool, what the system is told to look after."""
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )
    found = []
    async with by_tcp(database_url) as url:
        single, pool = await connect(url), await open_pool(url, 1)
        async with pool._pool.acquire() as pooled:
            for connection in (single, pooled):
                transport = connection._transport
                connected = transport.get_extra_info("socket")
                found.append(tuple(connected.getsockopt(*option) for option in options))
        await pool.close()
        await single.close()
    return found


async def test_a_connection_notices_when_the_other_side_has_vanished(database_url: str) -> None:
    assert await find_watched(database_url) == [(1, 30, 60_000)] * 2


def test_so_does_one_of_the_event_loop_that_servers_run(database_url: str) -> None:
    assert uvloop.run(find_watched(database_url)) == [(1, 30, 60_000)] * 2
