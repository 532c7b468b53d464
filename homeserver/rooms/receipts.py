"""Moving receipts, and the fully-read marker of this server's users.

Neither ever moves backwards: a client that was offline must not make a room unread again.
Source: client-server API, "Receipts", "Fully read markers".
"""

from collections.abc import Mapping, Sequence

import orjson

from federation.protocol.edu import Receipt
from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from homeserver.clock import Clock
from storage.account_data import SetAccountData, find_account_data
from storage.committer import Committer, Write
from storage.database import Database
from storage.memberships import is_joined
from storage.names import Names, RoomName
from storage.receipts import (
    MAIN,
    READ,
    READ_PRIVATE,
    UNTHREADED,
    MoveReceipt,
    event_positions,
    movable_receipts,
    read_up_to,
    threading_of,
)

FULLY_READ = "m.fully_read"
RECEIPT_TYPES = frozenset({READ, READ_PRIVATE, FULLY_READ})


class Receipts:
    """Takes receipts."""

    __slots__ = ("_clock", "_committer", "_db", "_names")

    def __init__(self, db: Database, names: Names, committer: Committer, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._clock = clock

    async def move(
        self,
        user_id: str,
        user_nid: int,
        room_id: str,
        events: Mapping[str, str],
        thread_id: str = UNTHREADED,
    ) -> None:
        """Move the user's markers in a room, each type in `events` to the event named there.

        Types are `m.read`, `m.read.private` and `m.fully_read`. What stands further ahead already
        stays there. Raises `Forbidden` for a user who is not in the room, `NotFound` for an event
        that is not in it, `InvalidParam` for a wrong type or thread.
        """
        check_types(events, thread_id)
        room = await self._get_room(room_id, user_nid)
        positions = await self._positions(room, events)
        await self._check_thread(events, thread_id)
        former = await self._former(room, user_nid, thread_id, FULLY_READ in events)
        writes = [
            self._write(room, user_id, user_nid, kind, event_id, thread_id)
            for kind, event_id in events.items()
            if positions[event_id] > former.get(kind, positions[event_id] - 1)
        ]
        if writes:
            await self._committer.commit(*writes)

    async def take(self, receipts: Sequence[Receipt]) -> None:
        """Move read receipts as another server tells of its users.

        Those of users who are not in the room are passed over, and those that would move back.
        """
        users = await self._names.users.find_nids({one.user_id for one in receipts})
        moves = []
        for one in receipts:
            room = await self._names.rooms.find(one.room_id)
            if room is not None and one.user_id in users:
                thread_id = one.thread_id or UNTHREADED
                user_nid = users[one.user_id]
                moves.append(
                    MoveReceipt(
                        room.room_nid, user_nid, one.user_id, READ, thread_id, one.event_id, one.ts
                    )
                )
        movable = await movable_receipts(self._db, moves) if moves else []
        if movable:
            await self._committer.commit(*movable)

    async def _get_room(self, room_id: str, user_nid: int) -> RoomName:
        room = await self._names.rooms.find(room_id)
        if room is None or not await is_joined(self._db, user_nid, room.room_nid):
            raise Forbidden("You are not in this room")
        return room

    async def _check_thread(self, events: Mapping[str, str], thread_id: str) -> None:
        if thread_id == UNTHREADED:
            return
        for event_id in set(events.values()):
            if not (await threading_of(self._db, event_id)).is_in(thread_id):
                raise InvalidParam("The event is not related to the thread")

    async def _positions(self, room: RoomName, events: Mapping[str, str]) -> dict[str, int]:
        found = await event_positions(self._db, room.room_nid, events.values())
        positions = {event: position for event, position in found.items() if position is not None}
        if not positions.keys() >= set(events.values()):
            raise NotFound("The event is not in this room")
        return positions

    async def _former(
        self, room: RoomName, user_nid: int, thread_id: str, with_fully_read: bool
    ) -> dict[str, int]:
        """The positions at which the user's markers stand, as far as their events are known."""
        former = {
            receipt.receipt_type: receipt.event_position
            for receipt in await read_up_to(self._db, [room.room_nid], user_nid)
            if receipt.thread_id == thread_id and receipt.event_position is not None
        }
        if not with_fully_read:
            return former
        content = await find_account_data(self._db, user_nid, room.room_nid, FULLY_READ)
        if content is None:
            return former
        event_id = orjson.loads(content)["event_id"]
        position = (await event_positions(self._db, room.room_nid, [event_id])).get(event_id)
        return former if position is None else {**former, FULLY_READ: position}

    def _write(
        self,
        room: RoomName,
        user_id: str,
        user_nid: int,
        kind: str,
        event_id: str,
        thread_id: str,
    ) -> Write:
        if kind == FULLY_READ:
            content = orjson.dumps({"event_id": event_id})
            return SetAccountData(user_nid, room.room_nid, FULLY_READ, content)
        ts = self._clock()
        return MoveReceipt(room.room_nid, user_nid, user_id, kind, thread_id, event_id, ts)


def check_types(types: Mapping[str, str], thread_id: str) -> None:
    """Raise `InvalidParam` unless these types can be moved in the thread."""
    unknown = types.keys() - RECEIPT_TYPES
    if unknown:
        raise InvalidParam(f"Receipts are of the types {', '.join(sorted(RECEIPT_TYPES))}")
    if thread_id != UNTHREADED and FULLY_READ in types:
        raise InvalidParam("m.fully_read has no threads")


def parse_thread_id(value: object) -> str:
    """The thread of a receipt as a client sends it, '' if absent. Raises `InvalidParam`."""
    if value is None:
        return UNTHREADED
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidParam("thread_id field must be a non-empty string")
    if value != MAIN and not value.startswith("$"):
        raise InvalidParam("thread_id is neither 'main' nor an event ID")
    return value
