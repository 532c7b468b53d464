"""Sessions in memory, in one process and in several."""

import asyncio
from typing import cast

import pytest

from homeserver.users.sessions import ENTRY_COST, Sessions
from storage.database import Pool
from tests.homeserver.users.server import UserServer, running_user_server


class CountingPool:
    """A pool that counts the look-ups of tokens and can hold one up."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def fetchrow(self, query: str, *args: object) -> object:
        self.asked += 1
        row = await self.pool.fetchrow(query, *args)
        await self.go_on.wait()
        return row


async def ignore(text: str) -> None:
    del text


def sessions_over(pool: CountingPool, server: UserServer, entries: int = 100) -> Sessions:
    return Sessions(cast(Pool, pool), server.time, ignore, entries * ENTRY_COST)


async def test_a_session_is_looked_up_once(server: UserServer) -> None:
    session = await server.register("anna")
    pool = CountingPool(server.db)
    sessions = sessions_over(pool, server)
    found = [await sessions.find(session.token) for _ in range(5)]
    assert pool.asked == 1
    assert found[0] is not None
    assert (found[0].user_id, found[0].device_id) == (session.user_id, session.device_id)
    assert all(requester is found[0] for requester in found)


async def test_the_memory_of_sessions_is_bounded_and_keeps_what_is_used(
    server: UserServer,
) -> None:
    used = await server.register("berta")
    others = [await server.log_in("berta") for _ in range(20)]
    pool = CountingPool(server.db)
    sessions = sessions_over(pool, server, entries=10)
    for other in others:
        await sessions.find(used.token)
        await sessions.find(other.token)
    assert pool.asked == 21
    await sessions.find(others[0].token)
    assert pool.asked == 22


@pytest.mark.parametrize("token", ["", "guessed", "\ud800", "é" * 500])
async def test_an_unknown_token_stands_for_nobody(server: UserServer, token: str) -> None:
    assert await server.users.sessions.find(token) is None


async def test_what_was_read_before_a_change_is_not_kept(server: UserServer) -> None:
    session = await server.register("cora")
    pool = CountingPool(server.db)
    sessions = sessions_over(pool, server)
    pool.go_on.clear()
    reading = asyncio.create_task(sessions.find(session.token))
    while not pool.asked:
        await asyncio.sleep(0)
    account = await server.users.accounts.find_by_name("cora")
    assert account is not None
    await server.users.accounts.set_suspended(account.user_id, suspended=True)
    sessions.forget(account.user_nid)
    pool.go_on.set()
    await reading
    requester = await sessions.find(session.token)
    assert requester is not None
    assert requester.is_suspended


async def test_a_change_reaches_other_processes(database_url: str) -> None:
    async with (
        running_user_server(database_url) as one,
        running_user_server(database_url) as other,
    ):
        session = await one.register("dora")
        assert (await other.whoami(session.token)).status == 200
        await one.call("POST", "/_matrix/client/v3/logout", token=session.token)
        for text in one.around.announced:
            other.users.sessions.hear(text)
        assert (await other.whoami(session.token)).error == (401, "M_UNKNOWN_TOKEN")


async def test_forgetting_everything_reads_everything_again(server: UserServer) -> None:
    session = await server.register("emma")
    pool = CountingPool(server.db)
    sessions = sessions_over(pool, server)
    await sessions.find(session.token)
    sessions.forget_all()
    await sessions.find(session.token)
    assert pool.asked == 2


async def test_a_device_is_noted_once_between_two_writes(server: UserServer) -> None:
    session = await server.register("frida")
    await server.users.last_seen.write()
    first = server.time()
    await server.whoami(session.token)
    server.time.advance(30)
    await server.whoami(session.token)
    await server.users.last_seen.write()
    requester = await server.users.sessions.find(session.token)
    assert requester is not None
    device = await server.users.devices.get(requester.user_nid, session.device_id)
    assert (device.last_seen_ts, device.last_seen_ip) == (first, "127.0.0.1")
    await server.whoami(session.token)
    await server.users.last_seen.write()
    device = await server.users.devices.get(requester.user_nid, session.device_id)
    assert device.last_seen_ts == first + 30_000


async def test_a_requester_without_device_is_not_noted(server: UserServer) -> None:
    server.users.last_seen.note(0, "127.0.0.1", None)
    assert not server.users.last_seen.is_noted(0)
