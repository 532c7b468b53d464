"""What vouches for events of a room, all the way down to the room's creation.

Source: server-server API, "Retrieving event authorisation information"; room version 12, where the
create event vouches for every event without being named by it.
"""

from collections.abc import Iterable

from federation.protocol.errors import NotFound
from federation.protocol.room_versions import get_room_version
from storage.auth_chains import get_auth_chain
from storage.database import Database
from storage.event_graph import find_graph_event
from storage.names import RoomName

MOST_EVENTS = 200_000
"""Longer chains are not followed: nothing but an attack makes them."""


class AuthChains:
    """Follows auth chains."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def chain_of(self, room: RoomName, event_nids: Iterable[int]) -> set[int]:
        """The auth events of events of a room, of these, and so on.

        The events themselves are among them only where another one's chain has them. Raises
        `NotFound` for a chain that is too long to be told.
        """
        starts = set(event_nids)
        chain = await get_auth_chain(self._db, starts, MOST_EVENTS + 1)
        if len(chain) > MOST_EVENTS:
            raise NotFound("The auth chain is too long")
        if get_room_version(room.version_id).create_event_is_room_id:
            create = await find_graph_event(self._db, f"${room.room_id[1:]}")
            if create is not None and starts - {create.event_nid}:
                chain.add(create.event_nid)
        return chain
