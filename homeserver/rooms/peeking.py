"""Following a room without being in it, and the old stream of all rooms that one is in.

Source: client-server API, "Room previews", `GET /events`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history import is_ignored
from homeserver.rooms.history_token import Received
from homeserver.rooms.history_visibility import SeenEvent, see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.readable_rooms import get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import Change, EventAdded, Membership
from storage.database import Database
from storage.feed import current_position
from storage.names import Names
from storage.timeline import events_received

AT_ONCE = 100

SELECT_JOINED = "SELECT room_nid FROM memberships WHERE user_nid = $1 AND membership = $2"


@dataclass(frozen=True, slots=True)
class News:
    """Events as JSON that came after `start`; `end` is where to go on."""

    start: str
    end: str
    chunk: list[bytes]


class Peeking:
    """Waits for events of rooms. `heard` must be told of all changes."""

    def __init__(
        self, db: Database, names: Names, clients: ClientEvents, ignored: IgnoredUsers
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored
        self._waiters: dict[int, set[asyncio.Event]] = {}

    async def wait(
        self, viewer: Viewer, room_id: str | None, since: Received | None, timeout_s: float
    ) -> News:
        """What happens in a room, or in all that the viewer is in; nothing if time runs out.

        Raises `Forbidden`.
        """
        until = asyncio.get_running_loop().time() + timeout_s
        position = await current_position(self._db) if since is None else since.position
        start = str(Received(position))
        while True:
            rooms = await self._rooms(viewer, room_id)
            happened = self._expect(rooms)
            try:
                end = await current_position(self._db)
                seen, position = await self._read(viewer, rooms, position, end)
                if seen or asyncio.get_running_loop().time() >= until:
                    chunk = await self._clients.render(seen, viewer, with_room_id=True)
                    return News(start, str(Received(position)), chunk)
                await _wait_until(happened, until)
            finally:
                self._expect_no_more(rooms, happened)

    def heard(self, changes: Sequence[Change]) -> None:
        """Wake those who wait for the rooms where something happened."""
        for change in changes:
            if isinstance(change, EventAdded):
                for waiter in self._waiters.get(change.event.room_nid, ()):
                    waiter.set()

    async def _rooms(self, viewer: Viewer, room_id: str | None) -> list[int]:
        if room_id is not None:
            readable = await get_readable_room(self._db, self._names, viewer, room_id)
            return [readable.room.room_nid]
        rows = await self._db.fetch(SELECT_JOINED, viewer.user_nid, Membership.JOIN)
        return [room_nid for (room_nid,) in rows]

    async def _read(
        self, viewer: Viewer, rooms: Sequence[int], since: int, upto: int
    ) -> tuple[list[SeenEvent], int]:
        """The visible events after a position, and the position up to which they were read."""
        events = await events_received(self._db, rooms, since, upto, AT_ONCE)
        end = upto if len(events) < AT_ONCE else events[-1].position or upto
        seen = await see_events(self._db, self._names, viewer, events)
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        return [item for item in seen if not is_ignored(item.event, ignored)], max(since, end)

    def _expect(self, rooms: Sequence[int]) -> asyncio.Event:
        happened = asyncio.Event()
        for room_nid in rooms:
            self._waiters.setdefault(room_nid, set()).add(happened)
        return happened

    def _expect_no_more(self, rooms: Sequence[int], happened: asyncio.Event) -> None:
        for room_nid in rooms:
            waiting = self._waiters[room_nid]
            waiting.discard(happened)
            if not waiting:
                del self._waiters[room_nid]


async def _wait_until(happened: asyncio.Event, until: float) -> None:
    """Wait for an event of asyncio or a time of the loop, whichever comes first."""
    try:
        async with asyncio.timeout_at(until):
            await happened.wait()
    except TimeoutError:
        return
