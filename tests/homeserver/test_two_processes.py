"""Two server processes over one database: people chat across them, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.server_process import ServerProcess
from tests.patience import LONG_POLL_MS, PATIENCE_S

SENDERS = 4
MESSAGES = 25


class Pair:
    """Two processes of one server."""

    def __init__(self, servers: list[ServerProcess], session: aiohttp.ClientSession) -> None:
        self.servers = servers
        self._session = session

    async def user(self, name: str, server: int) -> Client:
        """A new user who talks to one of the processes."""
        client = Client(self._session, self.servers[server].base_url)
        body = {"username": name, "password": "a password", "auth": {"type": "m.login.dummy"}}
        Homes.log_in(client, (await client.post("v3/register", body)).ok())
        return client

    def at_the_other(self, client: Client) -> Client:
        """The same session at the other process."""
        other = Client(self._session, self.servers[1].base_url)
        other.token, other.user_id = client.token, client.user_id
        return other


@pytest_asyncio.fixture
async def pair(database_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    servers = [ServerProcess(tmp_path, database_url) for _ in range(2)]
    try:
        async with aiohttp.ClientSession() as session:
            await servers[0].start(session)  # which makes the signing key
            await servers[1].start(session)
            yield Pair(servers, session)
    finally:
        for server in servers:
            await server.stop()


async def heard_messages(client: Client, room_id: str, wanted: int, since: str) -> list[str]:
    """The texts of the next messages, in the order in which long-polls bring them."""
    heard: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(heard) < wanted:
            answer = await client.sync(since, timeout_ms=LONG_POLL_MS, filter=WHOLE_TIMELINES)
            room = answer["rooms"].get("join", {}).get(room_id, {"timeline": {"events": []}})
            assert not room["timeline"].get("limited")
            heard += texts(room["timeline"]["events"])
            since = answer["next_batch"]
    return heard


WHOLE_TIMELINES = '{"room": {"timeline": {"limit": 500}}}'


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def test_a_sync_at_one_process_hears_what_is_sent_at_the_other(pair: Pair) -> None:
    alice, bob = await pair.user("alice", 0), await pair.user("bob", 1)
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    tokens = {client.user_id: (await client.sync())["next_batch"] for client in (alice, bob)}
    for speaker, hearer in ((alice, bob), (bob, alice)):
        waiting = asyncio.create_task(
            heard_messages(hearer, room_id, 1, tokens[hearer.user_id]),
        )
        await asyncio.sleep(0.2)  # until it waits
        await speaker.send(room_id, "are you there?")
        assert await waiting == ["are you there?"]
        tokens = {client.user_id: (await client.sync())["next_batch"] for client in (alice, bob)}


async def test_an_invitation_crosses_over(pair: Pair) -> None:
    alice, bob = await pair.user("alice", 0), await pair.user("bob", 1)
    since = (await bob.sync())["next_batch"]
    room_id = await alice.create_room()
    await alice.invite(room_id, bob.user_id)
    invites: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_S):
        while room_id not in invites:
            answer = await bob.sync(since, LONG_POLL_MS)
            invites = answer["rooms"].get("invite", {})
            since = answer["next_batch"]
    assert await bob.join(room_id) == room_id


async def test_sends_at_both_to_one_room_all_succeed_in_one_order(pair: Pair) -> None:
    alice, bob = await pair.user("alice", 0), await pair.user("bob", 1)
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    tokens = [(await client.sync())["next_batch"] for client in (alice, bob)]

    async def talk(client: Client, voice: int) -> None:
        for number in range(MESSAGES):
            await client.send(room_id, f"{client.user_id} {voice} {number}")

    total = 2 * SENDERS * MESSAGES
    heard_by_alice, heard_by_bob, _ = await asyncio.gather(
        heard_messages(alice, room_id, total, tokens[0]),
        heard_messages(bob, room_id, total, tokens[1]),
        asyncio.gather(
            *(talk(client, voice) for client in (alice, bob) for voice in range(SENDERS))
        ),
    )
    assert heard_by_alice == heard_by_bob
    assert len(set(heard_by_alice)) == total
    for client in (alice, bob):
        page = (await client.get(f"v3/rooms/{room_id}/messages", dir="b", limit=500)).ok()
        assert texts(page["chunk"])[::-1] == heard_by_alice


async def names_shown(client: Client, room_id: str, number: int) -> list[Any]:
    """The first names that syncs show; one process may hear late of what the other committed."""
    names: list[Any] = []
    since = None
    async with asyncio.timeout(PATIENCE_S):
        while len(names) < number:
            answer = await client.sync(since, timeout_ms=LONG_POLL_MS, filter=WHOLE_TIMELINES)
            since = answer["next_batch"]
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {"timeline": {}})
            events = room["timeline"].get("events", [])
            names += [event["content"] for event in events if event["type"] == "m.room.name"]
    return names


async def test_state_set_at_both_ends_the_same_at_both(pair: Pair) -> None:
    alice = await pair.user("alice", 0)
    elsewhere = pair.at_the_other(alice)
    room_id = await alice.create_room()

    async def rename(client: Client, name: str) -> None:
        for number in range(MESSAGES):
            await client.set_state(room_id, "m.room.name", {"name": f"{name} {number}"})

    await asyncio.gather(rename(alice, "one"), rename(elsewhere, "two"))
    path = f"v3/rooms/{room_id}/state/m.room.name/"
    name = (await alice.get(path)).ok()
    assert (await elsewhere.get(path)).ok() == name
    here, there = [
        await names_shown(client, room_id, 2 * MESSAGES) for client in (alice, elsewhere)
    ]
    assert here == there
    assert here[-1] == name


async def test_a_transaction_id_counts_at_both(pair: Pair) -> None:
    alice = await pair.user("alice", 0)
    elsewhere = pair.at_the_other(alice)
    room_id = await alice.create_room()
    body = {"msgtype": "m.text", "body": "once"}
    path = f"v3/rooms/{room_id}/send/m.room.message/same"
    answers = await asyncio.gather(
        *(client.put(path, body) for client in (alice, elsewhere) for _ in range(5))
    )
    assert len({answer.ok()["event_id"] for answer in answers}) == 1


async def test_a_log_out_counts_at_both(pair: Pair) -> None:
    alice = await pair.user("alice", 0)
    elsewhere = pair.at_the_other(alice)
    (await elsewhere.get("v3/account/whoami")).ok()
    (await alice.post("v3/logout")).ok()
    async with asyncio.timeout(PATIENCE_S):
        while (await elsewhere.get("v3/account/whoami")).status == 200:
            await asyncio.sleep(0.01)
    (await elsewhere.get("v3/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
