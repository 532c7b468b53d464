"""Answers take a number of queries that does not grow with what they are about.

Each is asked of a server that has just been started, so that nothing is hidden by caches.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from homeserver.app import running
from homeserver.http.request_id import CURRENT_REQUEST_ID
from storage.database import Pool
from tests.federation.inbound.far_server import FarServer, segment
from tests.homeserver.conftest import Answer, Homes

SMALL, LARGE = 3, 12


@dataclass
class Room:
    """A room whose history is hidden before joins, with `size` of everything; and a space."""

    size: int
    room_id: str
    first: str
    last: str
    space_id: str


@pytest_asyncio.fixture
async def rooms(homes: Homes, far: FarServer) -> list[Room]:
    """A small room and a large one."""
    return [await make_room(homes, far, size) for size in (SMALL, LARGE)]


async def make_room(homes: Homes, far: FarServer, size: int) -> Room:
    alice = await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    hidden = {"history_visibility": "joined"}
    await alice.set_state(room_id, "m.room.history_visibility", hidden)
    first = await alice.send(room_id, "first")
    for n in range(size):
        await alice.send(room_id, "before")
        await far.member(room_id, "join", f"user{n}")
        await alice.set_state(room_id, "m.room.topic", {"topic": str(n)})
    last = await alice.send(room_id, "last")
    space_id = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    for n in range(size):
        child = await alice.create_room(preset="public_chat" if n % 2 else "private_chat")
        await alice.set_state(space_id, "m.space.child", {"via": ["test"]}, child)
    return Room(size, room_id, first, last, space_id)


@asynccontextmanager
async def fresh_server(homes: Homes, far: FarServer) -> AsyncIterator[tuple[FarServer, list[str]]]:
    """Who asks a second server over the same database, and what that server asks."""
    async with (
        running(homes.services.settings) as server,
        aiohttp.ClientSession() as session,
    ):
        there = FarServer(far.name, Homes(server, session), session)
        with watching(server.services.db) as texts:
            yield there, texts


@contextmanager
def watching(db: Pool) -> Iterator[list[str]]:
    """Notes every query through the pool that is made for a request."""
    texts: list[str] = []

    def noting(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def noted(query: str, *args: Any) -> Any:
            if CURRENT_REQUEST_ID.get():
                texts.append(" ".join(query.split()))
            return await run(query, *args)

        return noted

    names = ("fetch", "fetchrow", "fetchval", "execute")
    for name in names:
        setattr(db, name, noting(getattr(db, name)))
    yield texts
    for name in names:
        delattr(db, name)


Ask = Callable[[FarServer, Room], Awaitable[Answer]]


async def ask_backfill(far: FarServer, room: Room) -> Answer:
    return await far.get(f"backfill/{segment(room.room_id)}", v=room.last, limit=3 * room.size)


async def ask_gap(far: FarServer, room: Room) -> Answer:
    gap = {"earliest_events": [room.first], "latest_events": [room.last], "limit": 3 * room.size}
    return await far.post(f"get_missing_events/{segment(room.room_id)}", gap)


async def ask_state(far: FarServer, room: Room) -> Answer:
    return await far.get(f"state/{segment(room.room_id)}", event_id=room.last)


async def ask_state_ids(far: FarServer, room: Room) -> Answer:
    return await far.get(f"state_ids/{segment(room.room_id)}", event_id=room.last)


async def ask_space(far: FarServer, room: Room) -> Answer:
    return await far.get(f"hierarchy/{segment(room.space_id)}")


@pytest.mark.parametrize(
    ("ask", "part"),
    [
        (ask_backfill, "pdus"),
        (ask_gap, "events"),
        (ask_state, "pdus"),
        (ask_state_ids, "pdu_ids"),
        (ask_space, "children"),
    ],
)
async def test_an_answer_takes_the_same_queries_whatever_its_size(
    homes: Homes, far: FarServer, rooms: list[Room], ask: Ask, part: str
) -> None:
    asked, told = [], []
    for room in rooms:
        async with fresh_server(homes, far) as (there, texts):
            body: Any = (await ask(there, room)).ok()
            told.append(len(body[part]))
            asked.append(Counter(texts))
    assert told[0] * 2 <= told[1], told
    assert asked[1] - asked[0] == Counter()
