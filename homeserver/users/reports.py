"""Reports of rooms, events and users to the administrators of this server.

Source: client-server API, "Reporting Content".
"""

from federation.protocol.errors import NotFound
from homeserver.clock import Clock
from storage.database import Database
from storage.events import find_event
from storage.memberships import is_joined
from storage.names import Names
from storage.reports import Report, add_report


class Reports:
    """Takes reports."""

    __slots__ = ("_clock", "_db", "_names")

    def __init__(self, db: Database, names: Names, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._clock = clock

    async def report_room(self, reporter_nid: int, room_id: str, reason: str) -> None:
        """Report a room; the reporter need not be in it. Raises `NotFound`."""
        if await self._names.rooms.find(room_id) is None:
            raise NotFound("The room was not found")
        await self._add(reporter_nid, room_id=room_id, reason=reason)

    async def report_event(
        self,
        reporter_nid: int,
        room_id: str,
        event_id: str,
        reason: str | None,
        score: int | None,
    ) -> None:
        """Report an event of a room that the reporter is in. Raises `NotFound`."""
        room = await self._names.rooms.find(room_id)
        event = await find_event(self._db, event_id)
        if (
            room is None
            or event is None
            or event.room_nid != room.room_nid
            or not await is_joined(self._db, reporter_nid, room.room_nid)
        ):
            raise NotFound("The event was not found or you are not joined to the room")
        await self._add(
            reporter_nid, room_id=room_id, event_id=event_id, reason=reason, score=score
        )

    async def report_user(self, reporter_nid: int, user_id: str, reason: str) -> None:
        """Report a user that this server knows, its own or another's. Raises `NotFound`."""
        if await self._names.users.find_nid(user_id) is None:
            raise NotFound("The user was not found")
        await self._add(reporter_nid, user_id=user_id, reason=reason)

    async def _add(
        self,
        reporter_nid: int,
        *,
        room_id: str | None = None,
        event_id: str | None = None,
        user_id: str | None = None,
        reason: str | None,
        score: int | None = None,
    ) -> None:
        report = Report(self._clock(), reporter_nid, room_id, event_id, user_id, reason, score)
        await add_report(self._db, report)
