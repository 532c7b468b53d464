"""The directories that application services have for the rooms of their networks.

Source: application service API, "Published room directories".
"""

from federation.protocol.errors import NotFound
from storage.appservices import set_listed
from storage.database import Database
from storage.names import Names


class ServiceDirectories:
    """Lists rooms of networks; `homeserver/rooms/directory.py` shows them."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def set_listed(
        self, service_id: str, network_id: str, room_id: str, *, listed: bool
    ) -> None:
        """Put a room into the directory of a network, or take it out. Raises `NotFound`."""
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        await set_listed(self._db, service_id, network_id, room.room_nid, listed=listed)
