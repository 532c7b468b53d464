"""Pushes of a server of two processes, and of one that is killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.push.gateway import PushGateway, push_gateway
from tests.homeserver.server_process import ServerProcess

MORE_CONFIG = """
[outgoing]
allow_ip_ranges = ["127.0.0.0/8"]
"""


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[PushGateway]:
    async with push_gateway() as one:
        yield one


@pytest_asyncio.fixture
async def servers(database_url: str, tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    both = [ServerProcess(tmp_path, database_url, MORE_CONFIG) for _ in range(2)]
    try:
        yield both
    finally:
        for server in both:
            await server.stop()


async def register(session: aiohttp.ClientSession, server: ServerProcess, name: str) -> Client:
    client = Client(session, server.base_url)
    body = {"username": name, "password": "a password", "auth": {"type": "m.login.dummy"}}
    Homes.log_in(client, (await client.post("v3/register", body)).ok())
    return client


async def log_in(session: aiohttp.ClientSession, server: ServerProcess, name: str) -> Client:
    """Another device of a user."""
    client = Client(session, server.base_url)
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": "a password"}
    Homes.log_in(client, (await client.post("v3/login", body)).ok())
    return client


async def test_one_of_two_processes_pushes_and_the_other_goes_on_when_it_is_killed(
    servers: list[ServerProcess], gateway: PushGateway
) -> None:
    first, second = servers
    async with aiohttp.ClientSession() as session:
        await first.start(session)
        await second.start(session)
        alice = await register(session, first, "alice")
        bob = await register(session, second, "bob")
        room_id = await alice.create_room(invite=[bob.user_id], preset="trusted_private_chat")
        await bob.join(room_id)
        await gateway.follow(bob)
        sent = [await alice.send(room_id, text) for text in ("one", "two")]
        assert [(await gateway.next_with_event())["event_id"] for _ in sent] == sent
        assert gateway.asked.empty()
        gateway.status = 502
        lost = await alice.send(room_id, "while the gateway is away")
        assert (await gateway.next_with_event())["event_id"] == lost
        await first.kill()
        gateway.status = 200
        there = await log_in(session, second, "alice")
        last = await there.send(room_id, "from the other")
        arrived = [(await gateway.next_with_event())["event_id"]]
        while arrived[-1] != last:
            arrived.append((await gateway.next_with_event())["event_id"])
        assert lost in arrived


async def test_kill_9_loses_no_push(servers: list[ServerProcess], gateway: PushGateway) -> None:
    server = servers[0]
    async with aiohttp.ClientSession() as session:
        await server.start(session)
        alice = await register(session, server, "alice")
        bob = await register(session, server, "bob")
        room_id = await alice.create_room(invite=[bob.user_id], preset="trusted_private_chat")
        await bob.join(room_id)
        await gateway.follow(bob)
        await alice.send(room_id, "a first one")
        await gateway.next_with_event()
        gateway.status = 502
        event_id = await alice.send(room_id, "the last words")
        await server.kill()
        gateway.status = 200
        while not gateway.asked.empty():
            gateway.asked.get_nowait()
        await server.start(session)
        # What was told right before may come again; gateways know events by their IDs.
        while (await gateway.next_with_event())["event_id"] != event_id:
            pass
