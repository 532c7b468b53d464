"""The rooms that two users share.

Source: client-server API, "Mutual Rooms".
"""

from dataclasses import dataclass

from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import is_valid_historical_user_id
from homeserver.rooms.viewer import Viewer
from storage.database import Database
from storage.names import Names

AT_ONCE = 100

SELECT_SHARED = """
    SELECT mine.room_nid
      FROM memberships AS mine
      JOIN memberships AS theirs ON theirs.room_nid = mine.room_nid
     WHERE mine.user_nid = $1 AND mine.membership = 1
       AND theirs.user_nid = $2 AND theirs.membership = 1
     ORDER BY mine.room_nid
"""


@dataclass(frozen=True, slots=True)
class MutualRoomsPage:
    """Some of the shared rooms, how many there are, and where the rest begins."""

    joined: list[str]
    count: int
    next_batch: str | None


class MutualRooms:
    """Compares the rooms of users."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def page(self, viewer: Viewer, user_id: str, start: str | None) -> MutualRoomsPage:
        """The rooms that both are in. Raises `InvalidParam`."""
        if not is_valid_historical_user_id(user_id):
            raise InvalidParam("'user_id' is not a user ID")
        if user_id == viewer.user_id:
            raise InvalidParam("'user_id' is your own")
        after = _parse_token(start) if start is not None else 0
        other_nid = await self._names.users.find_nid(user_id)
        if other_nid is None:
            return MutualRoomsPage([], 0, None)
        rows = await self._db.fetch(SELECT_SHARED, viewer.user_nid, other_nid)
        shared = [room_nid for (room_nid,) in rows]
        left = [room_nid for room_nid in shared if room_nid > after]
        page = left[:AT_ONCE]
        rooms = await self._names.rooms.get_many(page)
        next_batch = f"m{page[-1]}" if len(left) > len(page) else None
        return MutualRoomsPage([rooms[nid].room_id for nid in page], len(shared), next_batch)


def _parse_token(token: str) -> int:
    """The number of the last room that was told. Raises `InvalidParam`."""
    digits = token.removeprefix("m")
    if not token.startswith("m") or not digits.isascii() or not digits.isdecimal():
        raise InvalidParam("'from' is not a token of this list")
    return int(digits[:10])
