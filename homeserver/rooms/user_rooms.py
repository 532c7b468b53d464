"""All rooms of one user at once: the first ones, a new profile, the last farewell."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import RoomId, UserId
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.membership import Joiner, Memberships
from storage.changes import Membership
from storage.database import Database
from storage.memberships import rooms_of
from storage.names import Names

SIMULTANEOUS_ROOMS = 20
"""Rooms that are changed at once, so that their events share commits."""

logger = logging.getLogger(__name__)


class UserRooms:
    """The rooms of users; one that refuses a change does not hold up the others."""

    def __init__(
        self,
        db: Database,
        names: Names,
        memberships: Memberships,
        aliases: Aliases,
        first_rooms: Sequence[str],
    ) -> None:
        self._db = db
        self._names = names
        self._memberships = memberships
        self._aliases = aliases
        self._first_rooms = first_rooms

    async def join_first_rooms(self, user_id: UserId) -> None:
        """Join the rooms that every new user of this server joins."""

        async def join(alias: str) -> None:
            target = await self._aliases.resolve(alias)
            await self._memberships.join(Joiner(user_id), target.room_id, servers=target.servers)

        await change_all(user_id, self._first_rooms, join)

    async def update_member_profiles(
        self, user_id: UserId, displayname: str | None, avatar_url: str | None
    ) -> None:
        """Show a new name and avatar in all rooms that the user is in."""
        given = {"displayname": displayname, "avatar_url": avatar_url}
        profile = {key: value for key, value in given.items() if value is not None}

        async def update(room_id: RoomId) -> None:
            await self._memberships.set_profile(user_id, room_id, profile)

        await change_all(user_id, await self._rooms(user_id, Membership.JOIN), update)

    async def leave_all_rooms(self, user_id: UserId) -> None:
        """Leave all rooms, turn down all invites, take back all knocks; safe to repeat."""

        async def leave(room_id: RoomId) -> None:
            await self._memberships.leave(user_id, room_id)

        rooms = await self._rooms(user_id, Membership.JOIN, Membership.INVITE, Membership.KNOCK)
        await change_all(user_id, rooms, leave)

    async def _rooms(self, user_id: UserId, *memberships: Membership) -> list[RoomId]:
        user_nid = await self._names.users.get_nid(user_id)
        return await rooms_of(self._db, user_nid, *memberships)


async def change_all(
    user_id: UserId, rooms: Sequence[str], change: Callable[..., Awaitable[None]]
) -> None:
    """Change the rooms, a few at a time; what a room refuses is logged."""

    async def change_one(room: str) -> None:
        try:
            await change(room)
        except MatrixError as error:
            logger.warning("%s stays as they are in %s: %s", user_id, room, error.message)

    for start in range(0, len(rooms), SIMULTANEOUS_ROOMS):
        part = rooms[start : start + SIMULTANEOUS_ROOMS]
        await asyncio.gather(*(change_one(room) for room in part))
