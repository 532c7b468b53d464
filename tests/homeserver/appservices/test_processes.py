"""What becomes of telling application services when processes are killed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.homeserver.appservices.bridge import Bridge, Ghost, register
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.server_process import ServerProcess


@asynccontextmanager
async def processes(
    directory: Path, database_url: str, bridge: Bridge, number: int
) -> AsyncIterator[tuple[list[ServerProcess], aiohttp.ClientSession]]:
    files = [str(bridge.write_to(directory))]
    more = f"\n[appservices]\nfiles = {json.dumps(files)}\n"
    servers = [ServerProcess(directory, database_url, more) for _ in range(number)]
    try:
        async with aiohttp.ClientSession() as session:
            for server in servers:
                await server.start(session)
            yield servers, session
    finally:
        for server in servers:
            await server.stop()


async def user(session: aiohttp.ClientSession, server: ServerProcess, name: str) -> Client:
    client = Client(session, server.base_url)
    body = {"username": name, "password": "a password", "auth": {"type": "m.login.dummy"}}
    Homes.log_in(client, (await client.post("v3/register", body)).ok())
    return client


async def ghost_at(session: aiohttp.ClientSession, server: ServerProcess, bridge: Bridge) -> Ghost:
    ghost = Ghost(session, server.base_url)
    ghost.token, ghost.user_id = bridge.as_token, bridge.sender
    made = await register(ghost, "irc_bob")
    ghost.user_id = made["user_id"]
    return ghost


@pytest.mark.slow
async def test_a_killed_server_tells_everything_once_in_order(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        Bridge().running() as bridge,
        processes(tmp_path, database_url, bridge, 1) as ((server,), session),
    ):
        alice, ghost = await user(session, server, "alice"), await ghost_at(session, server, bridge)
        room_id = await alice.create_room(preset="public_chat")
        await ghost.join(room_id)
        sent = []
        for crash in range(3):
            if crash == 0:
                bridge.hold = asyncio.Event()
            if crash == 1:
                bridge.statuses = [500]
            sent += [await alice.send(room_id, f"{crash}.{number}") for number in range(30)]
            await server.kill()
            if bridge.hold is not None:
                bridge.hold.set()
                bridge.hold = None
            await server.start(session)
        await bridge.wait_for_event(sent[-1])
        assert [e["event_id"] for e in bridge.events if e["event_id"] in set(sent)] == sent
        ids = [event["event_id"] for event in bridge.events]
        assert len(ids) == len(set(ids))


@pytest.mark.slow
async def test_another_process_goes_on_where_one_was_killed(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        Bridge().running() as bridge,
        processes(tmp_path, database_url, bridge, 2) as ((first, second), session),
    ):
        alice, ghost = await user(session, second, "alice"), await ghost_at(session, second, bridge)
        room_id = await alice.create_room(preset="public_chat")
        await ghost.join(room_id)
        sent = [await alice.send(room_id, "before")]
        await bridge.wait_for_event(sent[0])
        bridge.statuses = [500] * 1_000
        sent += [await alice.send(room_id, f"while it fails {number}") for number in range(10)]
        await bridge.wait_for(lambda: "500" in bridge.headers)
        await first.kill()
        bridge.statuses = []
        sent += [await alice.send(room_id, f"after {number}") for number in range(10)]
        await bridge.wait_for_event(sent[-1])
        assert [e["event_id"] for e in bridge.events if e["event_id"] in set(sent)] == sent
