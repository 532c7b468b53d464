"""Spaces as other servers may see them: one level of a tree at a time, walked by who asks.

Source: server-server API, `GET /hierarchy/{roomId}`.
"""

from collections.abc import Iterable, Mapping

from federation.inbound.reading_ports import SpaceView
from federation.protocol.errors import NotFound
from federation.protocol.identifiers import RoomId, ServerName
from homeserver.rooms.server_access import ServerAccess
from homeserver.rooms.spaces import SPACE, Child, order_children
from homeserver.rooms.summary import Doors, doors_of, summary_fields
from storage.changes import Membership
from storage.database import Database
from storage.directory import RoomSummary, room_summaries
from storage.names import Names
from storage.room_servers import rooms_of_server
from storage.spaces import child_links, room_outlines

MAX_CHILDREN = 1_000
EXPECTED = (Membership.JOIN, Membership.INVITE)


class ServedSpaces:
    """Shows spaces to other servers."""

    def __init__(self, db: Database, names: Names, access: ServerAccess) -> None:
        self._db = db
        self._names = names
        self._access = access

    async def view(self, origin: ServerName, room_id: RoomId, *, suggested_only: bool) -> SpaceView:
        """A room and its children, as far as the server may see them. Raises `NotFound`."""
        outlines = await room_outlines(self._db, self._names, [room_id])
        if not await self._choose_visible(origin, outlines):
            raise NotFound(f"There is no room {room_id} that you may see")
        outline = outlines[room_id]
        children = await self._children_of(outline, suggested_only=suggested_only)
        others = [child.room_id for child in children if child.room_id != room_id]
        known = await room_outlines(self._db, self._names, others)
        visible = await self._choose_visible(origin, known)
        summaries = await room_summaries(
            self._db, self._names, [outline.room_nid, *(known[i].room_nid for i in visible)]
        )
        room = summary_fields(summaries[outline.room_nid])
        room["children_state"] = [child.event for child in children]
        return SpaceView(
            room,
            [summary_fields(summaries[known[i].room_nid]) for i in others if i in visible],
            [i for i in others if i in known and i not in visible],
        )

    async def _children_of(self, space: RoomSummary, *, suggested_only: bool) -> list[Child]:
        if space.room_type != SPACE:
            return []
        links = await child_links(self._db, [space.room_nid])
        events = [link.fields for link in links.get(space.room_nid, ())]
        return order_children(events, suggested_only=suggested_only)[:MAX_CHILDREN]

    async def _choose_visible(
        self, origin: ServerName, rooms: Mapping[str, RoomSummary]
    ) -> set[str]:
        """The rooms that any user of a server could be in, join, knock on or read."""
        if not rooms:
            return set()
        doors = {room_id: doors_of(outline) for room_id, outline in rooms.items()}
        expected = await rooms_of_server(self._db, doors, origin, EXPECTED)
        keys = {key for i, d in doors.items() if i not in expected for key in d.keys}
        joined = await rooms_of_server(self._db, keys, origin, (Membership.JOIN,)) if keys else ()
        visible = {i for i, d in doors.items() if i in expected or may_enter(d, joined)}
        return visible - await self._access.find_denied(origin, visible)


def may_enter(doors: Doors, joined: Iterable[str]) -> bool:
    """Whether users of a server that is in some rooms can enter by a room's doors, or look in."""
    return doors.are_open or not set(doors.keys).isdisjoint(joined)
