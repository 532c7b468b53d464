"""What users have set for a room holds in the room that takes its place.

Source: client-server API, "Room upgrades", server behaviour.
"""

import logging
from collections.abc import Mapping

from federation.protocol.auth_events import CREATE
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import UserId
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.ports import PersonalSettings
from storage.database import Database
from storage.memberships import find_membership
from storage.names import Names, RoomName

logger = logging.getLogger(__name__)


class Successors:
    """Notices when somebody joins a room that takes the place of one of theirs."""

    def __init__(
        self, db: Database, names: Names, live: LiveRooms, settings: PersonalSettings
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._settings = settings

    async def joined(self, user_id: UserId, room_id: str) -> None:
        """Carry over what the user has set for the room's predecessor.

        The join stands whatever becomes of this.
        """
        try:
            room = await self._live.get(room_id)
            create = room.state[CREATE]
            old_id = find_predecessor(create.pdu.content) if create else None
            old = await self._names.rooms.find(old_id) if old_id else None
            if old is None:
                return
            user_nid = await self._names.users.get_nid(user_id)
            if await find_membership(self._db, user_nid, old.room_nid) is not None:
                new = RoomName(room.room_nid, room.room_id, room.version.id)
                await self._settings.carry_over(user_id, user_nid, old, new)
        except MatrixError as error:
            logger.warning("%s joined %s without settings: %s", user_id, room_id, error.message)


def find_predecessor(content: Mapping[str, object]) -> str | None:
    """The room that a create event says its room replaces, if any."""
    predecessor = content.get("predecessor")
    room_id = predecessor.get("room_id") if isinstance(predecessor, Mapping) else None
    return room_id if isinstance(room_id, str) else None
