"""The stream as this process has followed it: its position and the changes of late.

Everything that long-polls need to answer a client that keeps up lies in the window, so such a
client costs no query at all. A token older than the window is answered from the database.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from storage.changes import (
    AccountDataSet,
    Change,
    EventAdded,
    PresenceSet,
    ReceiptMoved,
    StickyEventAdded,
)
from storage.database import Database
from storage.feed import current_position, read_changes
from storage.names import Names
from storage.restores import lost_stretches

log = logging.getLogger("hearth.stream")

EVENT_COST = 3_000
"""Bytes that an event in the window takes over its JSON, as measured."""
CHANGE_COST = 500

T = TypeVar("T")
RoomChange = EventAdded | ReceiptMoved | StickyEventAdded
Listener = Callable[[Sequence[Change], bool], Awaitable[None]]
"""Called with new changes and whether this process made them."""


class Window:
    """The last changes of the stream, by room and by user, within a budget of bytes.

    Everything after `start` is here.
    """

    def __init__(self, max_bytes: int, position: int) -> None:
        self.start = position
        self.position = position
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: deque[tuple[Change, int]] = deque()
        self._rooms: dict[int, deque[RoomChange]] = {}
        self._users: dict[int, deque[AccountDataSet]] = {}
        self._redacted_at: dict[int, int] = {}
        self.presence_position = position
        """The position of the latest change of anybody's presence."""

    def add(self, change: Change) -> None:
        """Take a change; the oldest ones make room for it."""
        cost = CHANGE_COST
        if isinstance(change, EventAdded):
            cost = EVENT_COST + len(change.event.json)
            self._rooms.setdefault(change.event.room_nid, deque()).append(change)
            if change.event.type == "m.room.redaction":
                self._redacted_at[change.event.room_nid] = change.position
        elif isinstance(change, ReceiptMoved | StickyEventAdded):
            self._rooms.setdefault(change.room_nid, deque()).append(change)
        elif isinstance(change, AccountDataSet):
            self._users.setdefault(change.user_nid, deque()).append(change)
        elif isinstance(change, PresenceSet):
            self.presence_position = change.position
        self._changes.append((change, cost))
        self._bytes += cost
        while self._bytes > self._max_bytes and self._changes:
            self._drop_oldest()

    def has_room_since(self, room_nid: int, since: int) -> bool:
        """Whether anything happened in a room after `since`."""
        changes = self._rooms.get(room_nid)
        return changes is not None and changes[-1].position > since

    def room_changes(self, room_nid: int, since: int) -> list[RoomChange]:
        """What happened in a room after `since`, oldest first."""
        found = []
        for change in reversed(self._rooms.get(room_nid, ())):
            if change.position <= since:
                break
            found.append(change)
        return found[::-1]

    def account_data_changes(self, user_nid: int, since: int) -> list[AccountDataSet]:
        """What a user's account data changed after `since`, oldest first."""
        return [c for c in self._users.get(user_nid, ()) if c.position > since]

    def find_position(self, room_nid: int, event_id: str) -> int | None:
        """The position of an event of the window, or None."""
        for change in reversed(self._rooms.get(room_nid, ())):
            if isinstance(change, EventAdded) and change.event.event_id == event_id:
                return change.position
        return None

    def has_intact_events(self, room_nid: int, since: int) -> bool:
        """Whether no redaction has changed the room's events after `since` since they came."""
        return self._redacted_at.get(room_nid, -1) <= since

    def _drop_oldest(self) -> None:
        change, cost = self._changes.popleft()
        self._bytes -= cost
        self.start = change.position
        if isinstance(change, EventAdded):
            _pop_oldest(self._rooms, change.event.room_nid)
            if self._redacted_at.get(change.event.room_nid) == change.position:
                del self._redacted_at[change.event.room_nid]
        elif isinstance(change, ReceiptMoved | StickyEventAdded):
            _pop_oldest(self._rooms, change.room_nid)
        elif isinstance(change, AccountDataSet):
            _pop_oldest(self._users, change.user_nid)


def _pop_oldest(index: dict[int, deque[T]], key: int) -> None:
    changes = index[key]
    changes.popleft()
    if not changes:
        del index[key]


class Stream:
    """Follows the stream: what this process commits and what others do, in order."""

    def __init__(self, db: Database, names: Names, server_name: str, window_bytes: int) -> None:
        self._db = db
        self._names = names
        self._server_name = server_name
        self._window_bytes = window_bytes
        self._following = asyncio.Lock()
        self._notified = asyncio.Event()
        self._target = 0
        self._listeners: list[Listener] = []
        self._told_position = 0
        self._lost: tuple[tuple[int, int], ...] = ()
        self.window = Window(window_bytes, 0)

    @property
    def position(self) -> int:
        """The last position whose change is known here."""
        return self.window.position

    def listen(self, listener: Listener) -> None:
        """Have `listener` called with every change from now on, before anybody is woken."""
        self._listeners.append(listener)

    async def settled(self) -> int:
        """The last position whose change is known here, once all listeners have heard of it."""
        if self._told_position != self.window.position:
            async with self._following:
                pass
        return self.window.position

    async def reach(self, position: int) -> bool:
        """Follow what other processes have committed up to a position; False if it is not there."""
        async with self._following:
            if self.window.position < position and position <= await current_position(self._db):
                await self._read_up_to(position)
        return self.window.position >= position

    async def holds(self, position: int) -> bool:
        """Whether a position that somebody was told is one of this stream.

        It is not if the database was restored from a backup that was made before.
        """
        if position > self.window.position and not await self.reach(position):
            return False
        return not any(after < position < resumed for after, resumed in self._lost)

    async def open(self) -> None:
        """Begin at the position that the database has."""
        self._lost = await lost_stretches(self._db)
        self.window = Window(self._window_bytes, await current_position(self._db))
        self._told_position = self.window.position

    async def published(self, before: int, after: int, changes: Sequence[Change]) -> None:
        """Our committer has committed; the positions are those before and after."""
        async with self._following:
            if self.window.position < before:
                await self._read_up_to(before)
            if self.window.position < after:
                await self._advance(after, changes, own=True)

    def notified(self, position: str) -> None:
        """Another process says that the stream has reached a position."""
        self._target = max(self._target, int(position))
        self._notified.set()

    async def run(self) -> None:
        """Follow what other processes commit, until cancelled."""
        while True:
            await self._notified.wait()
            self._notified.clear()
            async with self._following:
                if self.window.position < self._target:
                    await self._read_up_to(self._target)

    async def _read_up_to(self, position: int) -> None:
        changes = await read_changes(
            self._db, self._names, self._server_name, self.window.position, position
        )
        await self._advance(position, changes, own=False)

    async def _advance(self, position: int, changes: Sequence[Change], *, own: bool) -> None:
        for change in changes:
            self.window.add(change)
        self.window.position = position
        for listener in self._listeners:
            await listener(changes, own)
        self._told_position = position
