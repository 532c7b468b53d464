"""Putting media away, so that nobody gets them any more: by name, by user, by room."""

from federation.protocol.errors import NotFound
from federation.protocol.identifiers import RoomId, ServerName, UserId, parse_mxc
from homeserver.clock import Clock
from storage.database import Pool
from storage.media import OURS
from storage.media_quarantine import (
    Name,
    media_in_room,
    protect_media,
    quarantine_media,
    quarantine_user,
    release_media,
)
from storage.names import Names

EVENTS_AT_A_TIME = 2_000


class Quarantine:
    """Puts media away and gives them free again; it holds at once, in all processes."""

    __slots__ = ("_clock", "_db", "_names", "_server_name")

    def __init__(self, db: Pool, names: Names, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._server_name = server_name

    async def add_media(self, uri: str, by: str) -> None:
        """Put one medium away, also one that was never fetched. Raises `InvalidParam`, `NotFound`.

        It goes even if it is protected: somebody means this very one.
        """
        name = self.name_of(uri)
        if not await self._add([name], by, even_protected=True):
            raise NotFound(f"There is no {uri}")

    async def add_user(self, user_id: UserId, by: str) -> int:
        """Put away what a user of this server has uploaded; how many. Raises `NotFound`."""
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is None:
            raise NotFound(f"There is no user {user_id}")
        return await quarantine_user(self._db, user_nid, by)

    async def add_room(self, room_id: RoomId, by: str) -> int:
        """Put away all media that messages of a room name, of whatever server; how many."""
        position, total = -(2**63), 0
        while True:
            reached, found = await media_in_room(self._db, room_id, position, EVENTS_AT_A_TIME)
            if reached is None:
                return total
            position = reached
            names = [(self._origin(server), media_id) for server, media_id in found]
            total += await self._add(names, by, even_protected=False)

    async def release(self, uri: str) -> None:
        """Give a medium free again, with all that have the same content."""
        await release_media(self._db, *self.name_of(uri))

    async def protect(self, uri: str, *, is_protected: bool) -> None:
        """Keep a medium from going with its user or room, and from being deleted unused.

        Raises `InvalidParam`, `NotFound`.
        """
        if not await protect_media(self._db, *self.name_of(uri), is_protected=is_protected):
            raise NotFound(f"There is no {uri}")

    def name_of(self, uri: str) -> Name:
        """How the database names what a URI names. Raises `InvalidParam`."""
        server, media_id = parse_mxc(uri)
        return self._origin(server), media_id

    async def _add(self, names: list[Name], by: str, *, even_protected: bool) -> int:
        now = self._clock()
        async with self._db.transaction() as db:
            return await quarantine_media(db, names, by, now, even_protected=even_protected)

    def _origin(self, server: str) -> str:
        return OURS if server == self._server_name else server
