"""Requests take a number of queries that does not grow with what they are about.

Each request is measured at a server that has just been started over the database, so that nothing
is hidden by caches, once for a small world and once for a large one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
import pytest_asyncio

from federation.protocol.identifiers import UserId
from homeserver.app import running
from homeserver.calls.timer import Timer
from homeserver.http.request_id import CURRENT_REQUEST_ID
from homeserver.media.access_times import AccessTimes
from homeserver.push.pushing import Pushing
from homeserver.rooms.held_sticky import HeldStickyEvents
from homeserver.rooms.send import NewEvent
from homeserver.users.last_seen import LastSeen
from homeserver.users.presence import Presence
from storage.database import Pool
from tests.homeserver.conftest import Answer, Client, Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S

SMALL, LARGE = 3, 12
OURS = "the test's own"
LAZY = orjson.dumps({"room": {"state": {"lazy_load_members": True}}}).decode()
WITH_LEFT = orjson.dumps({"room": {"include_leave": True}}).decode()


@dataclass(frozen=True, slots=True)
class Queries:
    """What was asked of the database, but for what the test asked and what the clock is up to."""

    texts: list[str] = field(default_factory=list)

    def noting(self, run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same, noting the query."""

        async def noted(query: str, *args: Any) -> Any:
            if CURRENT_REQUEST_ID.get() != OURS and not is_background():
                self.texts.append(" ".join(query.split()))
            return await run(query, *args)

        return noted


BY_THE_CLOCK = {
    work.__qualname__
    for work in (
        AccessTimes.run,
        HeldStickyEvents.run,
        LastSeen.run,
        Presence.run,
        Pushing.run,
        Pushing._keep_saving,
        Timer.run,
    )
}


def is_background() -> bool:
    """Whether somebody asks who does so every few seconds, which may be at any moment."""
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "__qualname__", "") in BY_THE_CLOCK


@contextmanager
def watching(db: Pool) -> Iterator[Queries]:
    """Notes every query through the pool."""
    queries = Queries()
    names = ("fetch", "fetchrow", "fetchval", "execute")
    for name in names:
        setattr(db, name, queries.noting(getattr(db, name)))
    yield queries
    for name in names:
        delattr(db, name)


@dataclass(slots=True)
class World:
    """A reader who is in `size` rooms and invited to as many, with a room of `size` everything."""

    size: int
    reader: Client
    rooms: list[str]
    invites: list[str]
    friends: list[Client]
    since: str
    """A token of the reader from before the last news of every room."""
    crowded: str
    space: str


@pytest_asyncio.fixture
async def worlds(homes: Homes) -> list[World]:
    """A small world and a large one."""
    return [await build_world(homes, size) for size in (SMALL, LARGE)]


async def build_world(homes: Homes, size: int) -> World:
    reader = await homes.user()
    friends = [await homes.user() for _ in range(size)]
    (await reader.put(f"v3/profile/{reader.user_id}/displayname", {"displayname": "R"})).ok()
    rooms = [await build_room(reader, friends[n], n) for n in range(size)]
    leaving = [await friends[n].create_room(preset="public_chat") for n in range(size)]
    for room_id in leaving:
        await reader.join(room_id)
    crowded = await build_crowded_room(reader, friends)
    since = (await reader.sync())["next_batch"]
    for n, room_id in enumerate(rooms):
        await add_news(room_id, reader, friends[n], size)
    for room_id in leaving:
        (await reader.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    invites = [await friends[n].create_room(name=f"invite {n}") for n in range(size)]
    for n, room_id in enumerate(invites):
        await friends[n].invite(room_id, reader.user_id)
    space = await build_space(reader, rooms)
    return World(size, reader, rooms, invites, friends, since, crowded, space)


async def build_room(reader: Client, owner: Client, number: int) -> str:
    """A public room; every other one has no name."""
    options = {} if number % 2 else {"name": f"room {number}", "topic": "much"}
    room_id = await owner.create_room(preset="public_chat", visibility="public", **options)
    await reader.join(room_id)
    return room_id


async def build_crowded_room(reader: Client, friends: list[Client]) -> str:
    room_id = await reader.create_room(preset="public_chat")
    for friend in friends:
        await friend.join(room_id)
        root = await friend.send(room_id, "root")
        await friend.send(room_id, "reply", **thread(root))
        await react(friend, room_id, root)
    return room_id


async def add_news(room_id: str, reader: Client, friend: Client, count: int) -> None:
    """Messages with all that hangs on them, changes of state, a receipt, account data."""
    for n in range(count):
        root = await friend.send(room_id, f"root {n}")
        await friend.send(room_id, f"reply {n}", **thread(root))
        await react(friend, room_id, root)
        await friend.set_state(room_id, "m.room.topic", {"topic": f"topic {n}"})
        gone = await friend.send(room_id, "wrong")
        (await friend.put(f"v3/rooms/{quote(room_id)}/redact/{quote(gone)}/r{n}")).ok()
    (await friend.post(f"v3/rooms/{quote(room_id)}/receipt/m.read/{quote(root)}")).ok()
    (await reader.put(f"v3/user/{reader.user_id}/rooms/{quote(room_id)}/tags/u.work")).ok()


def thread(root: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


async def react(client: Client, room_id: str, event_id: str) -> None:
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": "+"}
    path = f"v3/rooms/{quote(room_id)}/send/m.reaction/{event_id[1:12]}"
    (await client.put(path, {"m.relates_to": relation})).ok()


async def build_space(reader: Client, rooms: list[str]) -> str:
    """A space whose newest events, as many as a sync shows, are messages."""
    space = await reader.create_room(creation_content={"type": "m.space"})
    for room_id in rooms:
        await reader.set_state(space, "m.space.child", {"via": ["test"]}, room_id)
    for n in range(10):
        await reader.send(space, f"message {n}")
    return space


@asynccontextmanager
async def fresh_server(homes: Homes, client: Client) -> AsyncIterator[tuple[Client, Queries]]:
    """The client at a second server over the same database, and what that server asks."""
    async with (
        running(homes.services.settings) as server,
        aiohttp.ClientSession() as session,
    ):
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = client.token, client.user_id
        with watching(server.services.db) as queries:
            yield there, queries


Ask = Callable[[Client, World], Awaitable[Answer]]


async def check_independence(
    homes: Homes, worlds: list[World], ask: Ask, sizes: Callable[[Any], int]
) -> None:
    """The request takes the same queries in both worlds; `sizes` tells that it is about more."""
    asked, told = [], []
    for world in worlds:
        async with fresh_server(homes, world.reader) as (client, queries):
            told.append(sizes((await ask(client, world)).ok()))
            asked.append(Counter(queries.texts))
    assert told[0] * 2 <= told[1], told
    assert asked[1] - asked[0] == Counter()


@pytest.mark.parametrize("sync_filter", ["{}", LAZY, WITH_LEFT])
async def test_an_initial_sync(homes: Homes, worlds: list[World], sync_filter: str) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get("v3/sync", filter=sync_filter)

    def rooms(body: Any) -> int:
        return len(body["rooms"]["join"])

    await check_independence(homes, worlds, ask, rooms)


@pytest.mark.parametrize("sync_filter", ["{}", LAZY])
async def test_a_sync_after_a_while(homes: Homes, worlds: list[World], sync_filter: str) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get("v3/sync", since=world.since, filter=sync_filter)

    def rooms(body: Any) -> int:
        return min(len(body["rooms"][section]) for section in ("join", "invite", "leave"))

    await check_independence(homes, worlds, ask, rooms)


@pytest.mark.parametrize("sync_filter", ["{}", LAZY])
async def test_a_sync_that_keeps_up_with_many_rooms(
    homes: Homes, worlds: list[World], sync_filter: str
) -> None:
    newcomer = await homes.user()
    asked = []
    for world in worlds:
        since = (await world.reader.sync(filter=sync_filter))["next_batch"]
        for n, room_id in enumerate(world.rooms):
            await newcomer.join(room_id)
            await newcomer.send(room_id, "here I am")
            await world.friends[n].set_state(room_id, "m.room.topic", {"topic": "newcomers"})
        with watching(homes.services.db) as queries:
            news = await world.reader.sync(since, filter=sync_filter)
        assert set(news["rooms"]["join"]) == set(world.rooms)
        asked.append(Counter(queries.texts))
    assert asked[1] - asked[0] == Counter()


async def test_a_page_of_messages(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        path = f"v3/rooms/{quote(world.crowded)}/messages"
        return await client.get(path, dir="b", limit=4 * world.size, filter=LAZY)

    await check_independence(homes, worlds, ask, lambda body: len(body["chunk"]))


async def test_the_members_of_a_room(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get(f"v3/rooms/{quote(world.crowded)}/members")

    await check_independence(homes, worlds, ask, lambda body: len(body["chunk"]))


async def test_the_state_of_a_room(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get(f"v3/rooms/{quote(world.crowded)}/joined_members")

    await check_independence(homes, worlds, ask, lambda body: len(body["joined"]))


async def test_the_threads_of_a_room(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get(f"v1/rooms/{quote(world.crowded)}/threads", limit=LARGE)

    await check_independence(homes, worlds, ask, lambda body: len(body["chunk"]))


async def test_the_public_rooms(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get("v3/publicRooms", limit=world.size)

    await check_independence(homes, worlds, ask, lambda body: len(body["chunk"]))


async def test_a_space(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        return await client.get(f"v1/rooms/{quote(world.space)}/hierarchy")

    await check_independence(homes, worlds, ask, lambda body: len(body["rooms"]))


async def test_a_sync_that_keeps_up_takes_no_query(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(SMALL)]
    for room_id in rooms:
        await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    for room_id in rooms:
        await alice.send(room_id, "the first one")
    since = (await bob.sync(since))["next_batch"]
    CURRENT_REQUEST_ID.set(OURS)
    hello = NewEvent(
        UserId(alice.user_id), "m.room.message", {"msgtype": "m.text", "body": "hello"}
    )
    with watching(homes.services.db) as queries:
        for room_id in rooms:
            waiting = asyncio.create_task(bob.sync(since, timeout_ms=LONG_POLL_MS))
            await until_waiting(homes, bob)
            await homes.services.send.send(room_id, hello)
            async with asyncio.timeout(PATIENCE_S):
                news = await waiting
            since = news["next_batch"]
            assert list(news["rooms"]["join"]) == [room_id]
    assert queries.texts == []


async def test_sticky_events_are_not_looked_for_where_there_are_none(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    await alice.sync()
    with watching(homes.services.db) as queries:
        await alice.sync()
    assert [text for text in queries.texts if "sticky_events" in text] == []
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/1"
    duration = {"org.matrix.msc4354.sticky_duration_ms": 60_000}
    (await alice.put(path, {"msgtype": "m.text", "body": "hello"}, **duration)).ok()
    with watching(homes.services.db) as queries:
        await alice.sync()
    assert [text for text in queries.texts if "sticky_events" in text] != []


async def until_waiting(homes: Homes, client: Client) -> None:
    """Until a sync of the client waits for news."""
    followers = homes.services.sync._followers
    user_nid = await homes.services.names.users.get_nid(client.user_id)
    while not followers._by_user[user_nid].waiters:
        await asyncio.sleep(0)


SLIDING = "unstable/org.matrix.simplified_msc3575/sync"
ELEMENT_ASKS: dict[str, Any] = {
    "conn_id": "room-list",
    "lists": {
        "all": {
            "ranges": [[0, 99]],
            "timeline_limit": 5,
            "required_state": [["m.room.member", "$LAZY"], ["m.room.name", ""]],
            "filters": {"not_room_types": ["org.example.unseen"]},
        }
    },
    "extensions": {
        name: {"enabled": True} for name in ("to_device", "e2ee", "account_data", "receipts")
    },
}


async def test_sliding_sync_that_begins(homes: Homes, worlds: list[World]) -> None:
    async def ask(client: Client, world: World) -> Answer:
        del world
        return await client.post(SLIDING, ELEMENT_ASKS)

    await check_independence(homes, worlds, ask, lambda body: len(body["rooms"]))


async def test_sliding_sync_after_a_while(homes: Homes, worlds: list[World]) -> None:
    pos: dict[int, str] = {}
    for world in worlds:
        body = (await world.reader.post(SLIDING, ELEMENT_ASKS)).ok()
        pos[world.size] = body["pos"]
        for n, room_id in enumerate(world.rooms):
            await add_news(room_id, world.reader, world.friends[n], 3)

    async def ask(client: Client, world: World) -> Answer:
        return await client.post(SLIDING, ELEMENT_ASKS, pos=pos[world.size])

    await check_independence(homes, worlds, ask, lambda body: len(body["rooms"]))


async def test_sliding_sync_that_keeps_up_takes_no_query(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(SMALL)]
    for room_id in rooms:
        await bob.join(room_id)
    pos = (await bob.post(SLIDING, ELEMENT_ASKS)).ok()["pos"]
    for room_id in rooms:
        await alice.send(room_id, "the first one")
        pos = (await bob.post(SLIDING, ELEMENT_ASKS, pos=pos)).ok()["pos"]
    CURRENT_REQUEST_ID.set(OURS)
    hello = NewEvent(
        UserId(alice.user_id), "m.room.message", {"msgtype": "m.text", "body": "hello"}
    )
    with watching(homes.services.db) as queries:
        for room_id in rooms:
            asked = bob.post(SLIDING, ELEMENT_ASKS, pos=pos, timeout=LONG_POLL_MS)
            waiting = asyncio.create_task(asked)
            await until_waiting(homes, bob)
            await homes.services.send.send(room_id, hello)
            async with asyncio.timeout(PATIENCE_S):
                news = (await waiting).ok()
            pos = news["pos"]
            assert list(news["rooms"]) == [room_id]
    assert queries.texts == []
