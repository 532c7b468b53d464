"""Delayed events over restarts, crashes and several processes: each is sent once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest_asyncio

from tests.homeserver.calls.delaying import (
    BRING_FORWARD,
    HOUR_MS,
    UNSTABLE,
    Listener,
    delay_message,
    finalised,
    scheduled,
)
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.server_process import ServerProcess

EVENTS = 12


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def sign_up(session: aiohttp.ClientSession, server: ServerProcess, name: str) -> Client:
    client = Client(session, server.base_url)
    body = {"username": name, "password": "a password", "auth": {"type": "m.login.dummy"}}
    Homes.log_in(client, (await client.post("v3/register", body)).ok())
    return client


async def test_what_fell_due_while_the_server_was_away_is_sent_in_order(
    database_url: str, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    server = ServerProcess(tmp_path, database_url)
    try:
        await server.start(session)
        alice = await sign_up(session, server, "alice")
        room_id = await alice.create_room()
        listener = await Listener.begin(alice, room_id)
        for number in reversed(range(EVENTS)):
            (await delay_message(alice, room_id, str(number), HOUR_MS + number * 1000)).ok()
        await server.kill()
        connection = await asyncpg.connect(database_url)
        await connection.execute(BRING_FORWARD, 2 * HOUR_MS)
        await connection.close()
        await server.start(session)
        assert await listener.texts(EVENTS) == [str(number) for number in range(EVENTS)]
    finally:
        await server.stop()


async def test_a_crash_while_events_are_sent_neither_loses_nor_repeats_one(
    database_url: str, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    server = ServerProcess(tmp_path, database_url)
    texts = {f"m{number}" for number in range(60)}
    try:
        await server.start(session)
        alice = await sign_up(session, server, "alice")
        room_id = await alice.create_room()
        listener = await Listener.begin(alice, room_id)
        for text in texts:
            (await delay_message(alice, room_id, text, 400)).ok()
        for enough in (1, 20, 40):
            await listener.hear(enough)
            await server.kill()
            await server.start(session)
        assert sorted(await listener.texts(60)) == sorted(texts)
        await alice.send(room_id, "last")
        assert (await listener.texts(61))[-1] == "last"
        sent = {one["event_id"] for one in await finalised(alice)}
        assert sent == {event["event_id"] for event in listener.heard[:-1]}
    finally:
        await server.stop()


async def test_of_two_processes_one_keeps_the_time_of_what_both_schedule(
    database_url: str, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    first, second = (ServerProcess(tmp_path, database_url) for _ in range(2))
    try:
        await first.start(session)
        await second.start(session)
        alice = await sign_up(session, first, "alice")
        there = Client(session, second.base_url)
        there.token, there.user_id = alice.token, alice.user_id
        room_id = await alice.create_room()
        listener = Listener(there, room_id, (await alice.sync())["next_batch"])
        (await delay_message(there, room_id, "by the second", 1)).ok()
        assert await listener.texts(1) == ["by the second"]
        (await delay_message(alice, room_id, "by the first", 1)).ok()
        assert await listener.texts(2) == ["by the second", "by the first"]
        late = (await delay_message(there, room_id, "managed", HOUR_MS)).ok()["delay_id"]
        sends = (one.post(f"{UNSTABLE}/{late}/send") for one in (alice, there) * 4)
        for answer in await asyncio.gather(*sends):
            answer.ok()
        await first.kill()
        (await delay_message(there, room_id, "after a crash", 1)).ok()
        assert await listener.texts(4) == [
            "by the second",
            "by the first",
            "managed",
            "after a crash",
        ]
        assert await scheduled(there) == []
    finally:
        await first.stop()
        await second.stop()
