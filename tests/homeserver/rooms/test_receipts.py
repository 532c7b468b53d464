from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.rooms.receipts import Receipts, parse_thread_id
from storage.account_data import find_account_data
from storage.changes import ReceiptMoved
from storage.receipts import receipts_of_rooms
from tests.committing import Store, add_account, add_event, add_room, open_store, set_membership

ALICE = "@alice:hs1"
ROOM = "!room:hs1"


@dataclass
class World:
    """Alice in a room of six events, $5 and $6 of which are in the thread of $2."""

    store: Store
    receipts: Receipts
    alice: int
    room: int

    async def move(self, kind: str, event_id: str, thread_id: str = "") -> None:
        await self.receipts.move(ALICE, self.alice, ROOM, {kind: event_id}, thread_id)

    async def standing(self) -> dict[tuple[str, str], str]:
        rows = await receipts_of_rooms(self.store.db, [self.room], self.alice, 10**9)
        return {(row.receipt_type, row.thread_id): row.event_id for row in rows}

    async def relate(self, event_nid: int, rel_type: str, parent: str) -> None:
        await self.store.db.execute(
            "INSERT INTO relations (event_nid, room_nid, sender_nid, type_nid, rel_type,"
            " parent_event_id) VALUES ($1, $2, 1, 1, $3, $4)",
            event_nid,
            self.room,
            rel_type,
            parent,
        )


@asynccontextmanager
async def open_world(database_url: str) -> AsyncIterator[World]:
    async with open_store(database_url) as store:
        alice = await add_account(store, ALICE)
        room = await add_room(store, ROOM)
        await set_membership(store, alice, room)
        world = World(
            store, Receipts(store.db, store.names, store.committer, lambda: 99), alice, room
        )
        for n in range(1, 7):
            await add_event(store, room, f"${n}", n)
        await world.relate(5, "m.thread", "$2")
        await world.relate(6, "m.annotation", "$5")
        yield world


async def test_receipts_move_forwards_only(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.move("m.read", "$3")
        await world.move("m.read", "$2")
        await world.move("m.read", "$3")
        assert await world.standing() == {("m.read", ""): "$3"}
        (change,) = world.store.published
        assert isinstance(change, ReceiptMoved)
        assert change.ts == 99
        await world.move("m.read", "$4")
        assert await world.standing() == {("m.read", ""): "$4"}


async def test_each_type_and_thread_has_a_receipt_of_its_own(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.move("m.read.private", "$4")
        await world.move("m.read", "$3")
        await world.move("m.read", "$1", "main")
        await world.move("m.read", "$5", "$2")
        assert await world.standing() == {
            ("m.read.private", ""): "$4",
            ("m.read", ""): "$3",
            ("m.read", "main"): "$1",
            ("m.read", "$2"): "$5",
        }


@pytest.mark.parametrize(
    ("event_id", "thread_id", "fits"),
    [
        ("$1", "main", True),
        ("$2", "main", True),
        ("$5", "main", False),
        ("$6", "main", False),
        ("$2", "$2", True),
        ("$5", "$2", True),
        ("$6", "$2", True),
        ("$1", "$2", False),
        ("$5", "$1", False),
        ("$5", "$5", False),
    ],
)
async def test_a_threaded_receipt_names_an_event_of_the_thread(
    database_url: str, event_id: str, thread_id: str, fits: bool
) -> None:
    async with open_world(database_url) as world:
        if fits:
            await world.move("m.read", event_id, thread_id)
            assert await world.standing() == {("m.read", thread_id): event_id}
        else:
            with pytest.raises(InvalidParam):
                await world.move("m.read", event_id, thread_id)


async def test_the_fully_read_marker_is_account_data_of_the_room(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.receipts.move(
            ALICE, world.alice, ROOM, {"m.fully_read": "$3", "m.read": "$4", "m.read.private": "$4"}
        )
        await world.move("m.fully_read", "$1")
        content = await find_account_data(world.store.db, world.alice, world.room, "m.fully_read")
        assert content == b'{"event_id":"$3"}'
        assert await world.standing() == {("m.read", ""): "$4", ("m.read.private", ""): "$4"}


async def test_receipts_are_for_members_and_events_of_the_room(database_url: str) -> None:
    async with open_world(database_url) as world:
        for n, standing in ((7, None), (8, world.room + 1)):
            await add_event(world.store, standing or world.room, f"${n}", n)
        await world.store.db.execute("UPDATE events SET stream_position = NULL WHERE event_nid = 7")
        for event_id in ("$7", "$8", "$9"):
            with pytest.raises(NotFound):
                await world.move("m.read", event_id)
        with pytest.raises(InvalidParam):
            await world.move("m.seen", "$1")
        with pytest.raises(InvalidParam):
            await world.move("m.fully_read", "$1", "main")
        await set_membership(world.store, world.alice, world.room, 4)
        with pytest.raises(Forbidden):
            await world.move("m.read", "$1")


@pytest.mark.parametrize("value", [1, "", [], "thread", "\0"])
def test_what_is_no_thread_is_refused(value: object) -> None:
    with pytest.raises(InvalidParam):
        parse_thread_id(value)
