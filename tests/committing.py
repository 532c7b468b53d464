"""A committer over a test's database, with what it published."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from storage.changes import Change
from storage.committer import Committer
from storage.database import Pool, open_pool
from storage.names import Names


@dataclass(slots=True)
class Store:
    """What services are built over, and the changes that were published so far."""

    db: Pool
    names: Names
    committer: Committer
    published: list[Change] = field(default_factory=list)
    listeners: list[Callable[[Sequence[Change]], None]] = field(default_factory=list)

    def hear(self, listener: Callable[[Sequence[Change]], None]) -> None:
        """Have `listener` told of the changes of each commit, as services are."""
        self.listeners.append(listener)


@asynccontextmanager
async def open_store(database_url: str) -> AsyncIterator[Store]:
    """A running committer; closed when the block is left."""
    published: list[Change] = []
    listeners: list[Callable[[Sequence[Change]], None]] = []

    async def publish(before: int, after: int, changes: Sequence[Change]) -> None:
        published.extend(changes)
        for listener in listeners:
            listener(changes)

    db = await open_pool(database_url, 3)
    committer = Committer(database_url, publish, {})
    running = asyncio.create_task(committer.run())
    try:
        yield Store(db, Names(db, 100_000), committer, published, listeners)
    finally:
        committer.close()
        await running
        await db.close()


async def add_room(store: Store, room_id: str) -> int:
    """A room without events; its number."""
    room_nid: int = await store.db.fetchval(
        "INSERT INTO rooms (room_id, room_version, created_ts) VALUES ($1, '12', 0)"
        " RETURNING room_nid",
        room_id,
    )
    return room_nid


async def add_account(store: Store, user_id: str) -> int:
    """An account on this server; the user's number."""
    user_nid = await store.names.users.get_nid(user_id)
    await store.db.execute("INSERT INTO accounts (user_nid, created_ts) VALUES ($1, 0)", user_nid)
    return user_nid


async def set_membership(store: Store, user_nid: int, room_nid: int, membership: int = 1) -> None:
    """The user's membership of the room: 1 join, 2 invite, 3 knock, 4 leave, 5 ban."""
    await store.db.execute(
        "INSERT INTO memberships (user_nid, room_nid, event_nid, stream_position, sender_nid,"
        " membership, is_local) VALUES ($1, $2, 0, 0, $1, $3, true)"
        " ON CONFLICT (user_nid, room_nid) DO UPDATE SET membership = EXCLUDED.membership",
        user_nid,
        room_nid,
        membership,
    )


async def add_event(store: Store, room_nid: int, event_id: str, position: int) -> None:
    """An event of no matter what type at a position of the stream."""
    await store.db.execute(
        "INSERT INTO events (event_nid, stream_position, depth, origin_server_ts, room_nid,"
        " sender_nid, type_nid, prev_nids, auth_nids, event_id, json)"
        " VALUES ($1, $1, 1, 0, $2, 1, 1, '{}', '{}', $3, '{}')",
        position,
        room_nid,
        event_id,
    )
