"""Whatever is acknowledged survives SIGKILL, of the server and of its PostgreSQL.

HEARTH_TEST_CRASHES in the environment asks for more crashes than the 20 of every run; a quarter
as many times PostgreSQL is killed.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.server_process import ServerProcess

CRASHES = int(os.environ.get("HEARTH_TEST_CRASHES", "20"))
POSTGRES_CRASHES = CRASHES // 4
SENDERS = 3
ROOMS = 3
LISTENERS = 2
PAUSE_S = 0.005
"""Between two messages of a sender in a room: the load is steady, the machine not full."""
LAST = "the last one"


class Persistent:
    """A client that asks again until it is answered, as clients do."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def get(self, path: str, **query: Any) -> Any:
        """GET until it succeeds."""
        return await self._until_answered("GET", path, None, query)

    async def put(self, path: str, body: Any) -> Any:
        """PUT until it succeeds."""
        return await self._until_answered("PUT", path, body, {})

    async def _until_answered(
        self, method: str, path: str, body: Any, query: dict[str, Any]
    ) -> Any:
        while True:
            try:
                answer = await self.client.request(method, path, body, **query)
            except aiohttp.ClientError:
                answer = Answer(503, None, {})
            if answer.status < 500:
                return answer.ok()
            assert answer.status == 503, answer.body
            await asyncio.sleep(0.02)


class Conversation:
    """A room, what was acknowledged in it, and what its history says."""

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        self.acknowledged: dict[str, str] = {}
        """Event ID by text."""
        self.history: list[tuple[str, str]] = []
        """Event ID and text, oldest first, as far as `check` has read."""

    async def send(self, sender: Persistent, text: str, txn_id: str) -> None:
        """Send a text until it is acknowledged."""
        path = f"v3/rooms/{self.room_id}/send/m.room.message/{txn_id}"
        answer = await sender.put(path, {"msgtype": "m.text", "body": text})
        self.acknowledged[text] = answer["event_id"]

    async def check(self, reader: Persistent) -> None:
        """Everything that has been acknowledged is there, once and as the same event."""
        acknowledged = dict(self.acknowledged)
        known = {event_id for event_id, _ in self.history}
        self.history += await messages_back_to(reader, self.room_id, known)
        there = {text: event_id for event_id, text in self.history}
        assert len(there) == len(self.history), "a message is there twice"
        lost = {text for text, event_id in acknowledged.items() if there.get(text) != event_id}
        assert not lost, f"{len(lost)} of {len(acknowledged)} messages are lost"


class Listener:
    """A client that syncs and writes down what it hears, filling gaps as clients do."""

    def __init__(self, client: Persistent, rooms: list[str]) -> None:
        self._client = client
        self._since: str | None = None
        self.heard: dict[str, list[str]] = {room_id: [] for room_id in rooms}
        """Event IDs by room."""
        self._silent = set(rooms)

    async def listen(self) -> None:
        """Sync until the last message of each room is heard."""
        while self._silent:
            query = {} if self._since is None else {"since": self._since}
            answer = await self._client.get("v3/sync", timeout=10_000, **query)
            for room_id, room in answer["rooms"].get("join", {}).items():
                await self._hear(room_id, room["timeline"])
            self._since = answer["next_batch"]

    async def _hear(self, room_id: str, timeline: dict[str, Any]) -> None:
        heard = self.heard[room_id]
        new = [told(event) for event in timeline["events"] if is_message(event)]
        if timeline["limited"]:
            start = timeline["prev_batch"]
            new = await messages_back_to(self._client, room_id, set(heard), start) + new
        heard += [event_id for event_id, _ in new]
        if any(text == LAST for _, text in new):
            self._silent.discard(room_id)


async def messages_back_to(
    client: Persistent, room_id: str, known: set[str], start: str | None = None
) -> list[tuple[str, str]]:
    """A room's messages before `start` and after the latest one that is known, oldest first."""
    newest_first: list[tuple[str, str]] = []
    query = {} if start is None else {"from": start}
    while True:
        page = await client.get(f"v3/rooms/{room_id}/messages", dir="b", limit=500, **query)
        for event in filter(is_message, page["chunk"]):
            if event["event_id"] in known:
                return newest_first[::-1]
            newest_first.append(told(event))
        if "end" not in page:
            return newest_first[::-1]
        query = {"from": page["end"]}


def is_message(event: dict[str, Any]) -> bool:
    return bool(event["type"] == "m.room.message")


def told(event: dict[str, Any]) -> tuple[str, str]:
    return event["event_id"], event["content"]["body"]


class World:
    """A server under load."""

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.senders: list[Persistent] = []
        self.listeners: list[Listener] = []
        self.conversations: list[Conversation] = []
        self._is_over = False

    async def prepare(self) -> None:
        """Users and rooms; everybody is in all rooms."""
        users = [await self._user(f"user{number}") for number in range(SENDERS + LISTENERS)]
        for _ in range(ROOMS):
            room_id = await users[0].create_room(preset="public_chat")
            for user in users[1:]:
                await user.join(room_id)
            self.conversations.append(Conversation(room_id))
        self.senders = [Persistent(user) for user in users[:SENDERS]]
        rooms = [conversation.room_id for conversation in self.conversations]
        self.listeners = [Listener(Persistent(user), rooms) for user in users[SENDERS:]]

    async def _user(self, name: str) -> Client:
        client = Client(self.session, self.server.base_url)
        body = {"username": name, "password": "a password", "auth": {"type": "m.login.dummy"}}
        Homes.log_in(client, (await client.post("v3/register", body)).ok())
        return client

    async def talk(self, sender: Persistent, conversation: Conversation) -> None:
        """One sender's part of a conversation."""
        number = 0
        while not self._is_over:
            number += 1
            text = f"{sender.client.user_id} {number}"
            await conversation.send(sender, text, str(number))
            await asyncio.sleep(PAUSE_S)

    async def check(self) -> None:
        """All conversations are as the clients were told."""
        for conversation in self.conversations:
            await conversation.check(self.senders[0])

    async def end(self) -> None:
        """No crash any more: everybody finishes the sentence."""
        self._is_over = True
        for conversation in self.conversations:
            await conversation.send(self.senders[0], LAST, "last")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server = ServerProcess(tmp_path)
    try:
        async with aiohttp.ClientSession() as session:
            await server.start(session)
            world = World(server, session)
            await world.prepare()
            yield world
    finally:
        await server.stop()


@pytest.mark.slow
async def test_what_is_acknowledged_survives_crashes(world: World) -> None:
    chance = random.Random(20)
    async with asyncio.TaskGroup() as tasks:
        for listener in world.listeners:
            tasks.create_task(listener.listen())
        for conversation in world.conversations:
            for sender in world.senders:
                tasks.create_task(world.talk(sender, conversation))
        victims = ["server"] * CRASHES + ["postgres"] * POSTGRES_CRASHES
        for victim in chance.sample(victims, len(victims)):
            await asyncio.sleep(chance.uniform(0.05, 0.8))
            if victim == "server":
                await world.server.kill()
                await world.server.start(world.session)
            else:
                world.server.kill_postgres()
            await world.check()
        await world.end()
    await world.check()
    for conversation in world.conversations:
        everything = [event_id for event_id, _ in conversation.history]
        assert len(everything) > CRASHES
        for listener in world.listeners:
            assert listener.heard[conversation.room_id] == everything
