"""The event closest to a time.

Source: client-server API, `GET /rooms/{roomId}/timestamp_to_event`.
"""

from typing import Protocol

from federation.protocol.errors import NotFound
from homeserver.rooms.history_visibility import see_events
from homeserver.rooms.readable_rooms import get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.names import Names
from storage.timeline import HIGHEST, LOWEST, Moment, events_near_time

AT_ONCE = 50
MOST_LOOKS = 4


class RemoteTimes(Protocol):
    """Asks other servers of a room for events that this one does not have."""

    async def find_near(
        self, room_nid: int, ts: int, nearest: StoredEvent | None, *, backwards: bool
    ) -> StoredEvent | None:
        """A closer event than `nearest`, the closest one here, if other servers have one."""


class NoRemoteTimes:
    """For a server that asks nobody."""

    async def find_near(
        self, room_nid: int, ts: int, nearest: StoredEvent | None, *, backwards: bool
    ) -> StoredEvent | None:
        """Nothing closer can be had."""
        del room_nid, ts, nearest, backwards
        return None


class Timestamps:
    """Finds events by time."""

    def __init__(self, db: Database, names: Names, remote: RemoteTimes | None = None) -> None:
        self._db = db
        self._names = names
        self._remote = remote or NoRemoteTimes()

    async def find(self, viewer: Viewer, room_id: str, ts: int, *, backwards: bool) -> StoredEvent:
        """The first event at or after a time, or the last one at or before it, if `backwards`.

        Of several at the same time the one counts that history has first in that direction.
        Raises `Forbidden`, `NotFound`.
        """
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        room_nid = readable.room.room_nid
        upto = HIGHEST[1] if readable.until is None else readable.until
        moment = Moment(ts, HIGHEST if backwards else LOWEST)
        nearest = None
        for _ in range(MOST_LOOKS):
            events = await events_near_time(
                self._db, room_nid, moment, upto, AT_ONCE, backwards=backwards
            )
            seen = await see_events(self._db, self._names, viewer, events, readable.memberships)
            if seen:
                nearest = seen[0].event
            if seen or len(events) < AT_ONCE:
                break
            last = events[-1]
            moment = Moment(
                last.fields["origin_server_ts"], (last.depth, last.position or LOWEST[1])
            )
        closer = await self._remote.find_near(room_nid, ts, nearest, backwards=backwards)
        if closer is not None:
            return closer
        if nearest is None:
            raise NotFound("There is no event at that time")
        return nearest
