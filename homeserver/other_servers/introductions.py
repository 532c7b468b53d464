"""Introducing our users' devices to servers that they newly share a room with.

Source: server-server API, "Device Management".
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from federation.protocol.identifiers import ServerName, UserId
from homeserver.other_servers.backlog import position_of
from homeserver.other_servers.room_servers import RoomServers
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.participants import joined_since


class DeviceLists(Protocol):
    """Tells of users' devices."""

    async def introduce(
        self, user_nid: int, user_id: UserId, servers: frozenset[ServerName]
    ) -> None:
        """Tell servers of all devices of a user who has come into a room of theirs."""


class Introductions:
    """Finds out to whom users are new."""

    def __init__(
        self, db: Database, names: Names, servers: RoomServers, device_lists: DeviceLists
    ) -> None:
        self._db = db
        self._names = names
        self._servers = servers
        self._device_lists = device_lists

    async def introduce(self, joins: Sequence[StoredEvent]) -> None:
        """Users of ours have come into rooms; those who were in them already are passed over."""
        replaced = await get_events(
            self._db, [nid for join in joins if (nid := join.replaces_nid) is not None]
        )
        new = [join for join in joins if not is_join(replaced.get(join.replaces_nid or 0))]
        if not new:
            return
        nids = await self._names.users.get_nids({str(join.state_key) for join in new})
        rooms = await joined_since(self._db, nids.values())
        servers = await self._servers.now({nid for own in rooms.values() for nid in own})
        for user_id, user_nid in nids.items():
            entered = [join for join in new if join.state_key == user_id]
            strangers = find_strangers(entered, rooms[user_nid], servers)
            if strangers:
                await self._device_lists.introduce(user_nid, UserId(user_id), strangers)


def find_strangers(
    entered: Sequence[StoredEvent],
    rooms: Mapping[int, int],
    servers: Mapping[int, frozenset[ServerName]],
) -> frozenset[ServerName]:
    """The servers in the rooms that a user entered, less those in rooms the user was in before.

    `rooms` are all rooms of the user, each with the position since which the user is in it.
    """
    since = min(position_of(join) for join in entered)
    known = {name for nid, at in rooms.items() if at < since for name in servers.get(nid, ())}
    met = {name for join in entered for name in servers.get(join.room_nid, ())}
    return frozenset(met - known)


def is_join(event: StoredEvent | None) -> bool:
    """Whether a member event says that the member is in the room."""
    return event is not None and event.content.get("membership") == "join"
