"""Whether a user may read in a room at all, and up to where.

What of the room's history they may see is decided event by event (`history_visibility.py`).
Source: client-server API, "Room history visibility", "Room previews"; `GET /messages`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.protocol.auth_events import member_place
from federation.protocol.canonical_json import decode
from federation.protocol.errors import Forbidden
from federation.protocol.visibility import HISTORY_VISIBILITY, HistoryVisibility, visibility_of
from homeserver.rooms.history_visibility import OwnMembership, get_joined_until, get_memberships
from homeserver.rooms.viewer import Viewer
from storage.changes import Membership
from storage.database import Database
from storage.names import Names, RoomName

NOT_A_MEMBER = "You are not a member of this room"


@dataclass(frozen=True, slots=True)
class ReadableRoom:
    """A room in which a viewer may read; `until` is the last stream position for those who left.

    `own` is the viewer's present membership, None for somebody who never had any.
    """

    room: RoomName
    own: OwnMembership | None
    until: int | None

    @property
    def is_joined(self) -> bool:
        """Whether the viewer is in the room."""
        return self.own is not None and self.own.membership is Membership.JOIN

    @property
    def memberships(self) -> Mapping[int, OwnMembership]:
        """The viewer's membership as `see_events` takes it."""
        return {} if self.own is None else {self.room.room_nid: self.own}


SELECT_CURRENT = """
    SELECT e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = $1 AND s.place_nid = $2
"""


async def get_readable_room(
    db: Database, names: Names, viewer: Viewer, room_id: str
) -> ReadableRoom:
    """The room, for members, for those who were members, and for all if it is world-readable.

    Raises `Forbidden`, also where there is no such room.
    """
    room = await names.rooms.find(room_id)
    if room is None:
        raise Forbidden(NOT_A_MEMBER)
    memberships = await get_memberships(db, viewer.user_nid, (room.room_nid,))
    own = memberships.get(room.room_nid)
    if own is not None and own.membership is Membership.JOIN:
        return ReadableRoom(room, own, None)
    if await is_world_readable(db, names, room.room_nid):
        return ReadableRoom(room, own, None)
    if own is not None and not own.forgotten:
        place = await names.places.get_nid(member_place(viewer.user_id))
        until = await get_joined_until(db, place, (room.room_nid,), memberships)
        if room.room_nid in until:
            return ReadableRoom(room, own, until[room.room_nid])
    raise Forbidden(NOT_A_MEMBER)


async def is_world_readable(db: Database, names: Names, room_nid: int) -> bool:
    """Whether anybody may read what happens in the room now."""
    place = (await names.places.find_nids([HISTORY_VISIBILITY])).get(HISTORY_VISIBILITY)
    if place is None:
        return False
    encoded = await db.fetchval(SELECT_CURRENT, room_nid, place)
    if encoded is None:
        return False
    return visibility_of(decode(encoded).get("content")) is HistoryVisibility.WORLD_READABLE
