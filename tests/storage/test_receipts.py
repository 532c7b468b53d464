from storage.changes import ReceiptMoved
from storage.receipts import (
    READ,
    READ_PRIVATE,
    MoveReceipt,
    ReadUpTo,
    changed_receipts,
    event_positions,
    read_up_to,
    receipts_after,
    receipts_of_rooms,
)
from tests.committing import Store, add_event, add_room, open_store


async def two_readers(store: Store) -> tuple[int, int, int]:
    room = await add_room(store, "!room")
    alice = await store.names.users.get_nid("@alice:hs1")
    bob = await store.names.users.get_nid("@bob:hs1")
    return room, alice, bob


async def test_private_receipts_are_shown_to_their_user_only(database_url: str) -> None:
    async with open_store(database_url) as store:
        room, alice, bob = await two_readers(store)
        last = await store.committer.commit(
            MoveReceipt(room, alice, "@alice:hs1", READ, "", "$1", 10),
            MoveReceipt(room, alice, "@alice:hs1", READ_PRIVATE, "", "$2", 11),
            MoveReceipt(room, bob, "@bob:hs1", READ, "main", "$2", 12),
        )
        public = ReceiptMoved(last - 2, room, alice, "@alice:hs1", READ, "", "$1", 10)
        private = ReceiptMoved(last - 1, room, alice, "@alice:hs1", READ_PRIVATE, "", "$2", 11)
        threaded = ReceiptMoved(last, room, bob, "@bob:hs1", READ, "main", "$2", 12)
        assert await receipts_of_rooms(store.db, [room], alice, last) == [public, private, threaded]
        assert await receipts_of_rooms(store.db, [room], bob, last) == [public, threaded]
        assert await receipts_after(store.db, [room], bob, last - 1, last) == [threaded]
        assert await receipts_after(store.db, [room + 1], bob, 0, last) == []
        assert await changed_receipts(store.db, 0, last) == store.published


async def test_a_receipt_stands_once_for_each_thread(database_url: str) -> None:
    async with open_store(database_url) as store:
        room, alice, _ = await two_readers(store)
        await store.committer.commit(MoveReceipt(room, alice, "@alice:hs1", READ, "", "$1", 1))
        await store.committer.commit(
            MoveReceipt(room, alice, "@alice:hs1", READ, "", "$2", 2),
            MoveReceipt(room, alice, "@alice:hs1", READ, "$root", "$3", 3),
            MoveReceipt(room, alice, "@alice:hs1", READ, "", "$4", 4),
        )
        await add_event(store, room, "$4", 77)
        assert set(await read_up_to(store.db, [room], alice)) == {
            ReadUpTo(room, READ, "", "$4", 77),
            ReadUpTo(room, READ, "$root", "$3", None),
        }


async def test_positions_are_told_of_events_of_the_room_only(database_url: str) -> None:
    async with open_store(database_url) as store:
        room, _, _ = await two_readers(store)
        await add_event(store, room, "$1", 5)
        await add_event(store, room + 1, "$2", 6)
        assert await event_positions(store.db, room, ["$1", "$2", "$3"]) == {"$1": 5}
