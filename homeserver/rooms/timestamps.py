"""The event closest to a time.

Source: client-server API, `GET /rooms/{roomId}/timestamp_to_event`.
"""

from typing import Protocol

from federation.protocol.errors import NotFound
from homeserver.rooms.history_visibility import see_events
from homeserver.rooms.readable_rooms import ReadableRoom, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.names import Names
from storage.timeline import HIGHEST, LOWEST, Moment, events_near_time

AT_ONCE = 50
MOST_LOOKS = 4


class RemoteTimes(Protocol):
    """Asks other servers of a room for events that this one does not have."""

    async def bring_closer(
        self, room_nid: int, ts: int, nearest_ts: int | None, *, backwards: bool
    ) -> bool:
        """Fetch the event that is closest to a time, if this server may lack it.

        Whether there is now a closer one than that of `nearest_ts`.
        """


class NoRemoteTimes:
    """For a server that asks nobody."""

    async def bring_closer(
        self, room_nid: int, ts: int, nearest_ts: int | None, *, backwards: bool
    ) -> bool:
        """Nothing closer can be had."""
        del room_nid, ts, nearest_ts, backwards
        return False


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
        nearest = await self._find_here(viewer, readable, ts, backwards=backwards)
        nearest_ts = None if nearest is None else nearest.fields["origin_server_ts"]
        if nearest_ts != ts and await self._remote.bring_closer(
            readable.room.room_nid, ts, nearest_ts, backwards=backwards
        ):
            nearest = await self._find_here(viewer, readable, ts, backwards=backwards)
        if nearest is None:
            raise NotFound("There is no event at that time")
        return nearest

    async def _find_here(
        self, viewer: Viewer, readable: ReadableRoom, ts: int, *, backwards: bool
    ) -> StoredEvent | None:
        """The nearest event that is here and visible."""
        upto = HIGHEST[1] if readable.until is None else readable.until
        moment = Moment(ts, HIGHEST if backwards else LOWEST)
        for _ in range(MOST_LOOKS):
            events = await events_near_time(
                self._db, readable.room.room_nid, moment, upto, AT_ONCE, backwards=backwards
            )
            seen = await see_events(self._db, self._names, viewer, events, readable.memberships)
            if seen:
                return seen[0].event
            if len(events) < AT_ONCE:
                break
            last = events[-1]
            moment = Moment(
                last.fields["origin_server_ts"], (last.depth, last.position or LOWEST[1])
            )
        return None
