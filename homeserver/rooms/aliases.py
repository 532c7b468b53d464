"""Room aliases: making, removing, following and announcing them.

Source: client-server API, "Room aliases"; `m.room.canonical_alias`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import CREATE, POWER_LEVELS, member_place
from federation.protocol.errors import BadAlias, Forbidden, InvalidParam, NotFound
from federation.protocol.identifiers import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    check_room_alias,
    server_of,
)
from homeserver.config.sections.rooms import Rooms as RoomSettings
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.ports import AliasTarget, RemoteRooms, ServiceAliases
from homeserver.rooms.readable_rooms import is_world_readable
from homeserver.rooms.send import NewEvent, Send
from storage.aliases import AddAlias, aliases_of, delete_alias, find_alias
from storage.committer import Committer
from storage.current_state import find_current_event
from storage.database import Database
from storage.memberships import is_joined
from storage.names import Names
from storage.rooms import servers_in_room

CANONICAL_ALIAS = ("m.room.canonical_alias", "")
MAX_SERVERS = 50


@dataclass(frozen=True, slots=True)
class AliasUser:
    """Who deals with aliases, and the application service behind it, if there is one."""

    user_id: UserId
    user_nid: int
    is_admin: bool = False
    service_id: str | None = None


class Aliases:
    """The aliases of this server, and where others lead."""

    def __init__(
        self,
        db: Database,
        names: Names,
        committer: Committer,
        live: LiveRooms,
        send: Send,
        remote: RemoteRooms,
        services: ServiceAliases,
        settings: RoomSettings,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._live = live
        self._send = send
        self._remote = remote
        self._services = services
        self._settings = settings
        self._server_name = server_name

    async def resolve(self, alias: str) -> AliasTarget:
        """Where an alias of any server leads.

        Raises `InvalidParam`, `NotFound`, `RequestTimeout`.
        """
        checked = check_room_alias(alias)
        if server_of(checked) != self._server_name:
            return await self._remote.find_alias(checked)
        stored = await find_alias(self._db, checked)
        if stored is None and await self._services.make_alias_known(checked):
            stored = await find_alias(self._db, checked)
        if stored is None:
            raise NotFound(f"Room alias {alias} not found")
        room = await self._names.rooms.find(stored.room_id)
        servers = await servers_in_room(self._db, room.room_nid, MAX_SERVERS) if room else []
        others = [server for server in servers if server != self._server_name]
        return AliasTarget(stored.room_id, [self._server_name, *others])

    async def add(self, user: AliasUser, alias: str, room_id: str) -> None:
        """Make an alias of a room that the user is in.

        An application service need not be in it. Raises `InvalidParam`, `Forbidden`, `Exclusive`,
        `NotFound`, `AliasTaken`.
        """
        checked = self._check_own(alias)
        self._services.check_alias(checked, user.service_id)
        is_trusted = user.is_admin or user.service_id is not None
        if self._settings.alias_creation == "admins" and not is_trusted:
            raise Forbidden("Only administrators may create room aliases on this server")
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        if not is_trusted and not await is_joined(self._db, user.user_nid, room.room_nid):
            raise Forbidden("You must be in the room to give it an alias")
        await self._committer.commit(AddAlias(checked, room_id, user.user_nid))

    async def remove(self, user: AliasUser, alias: str) -> None:
        """Remove an alias, and tell the room where it was announced if the user may.

        Aliases are removed by who made them, by those who may announce the room's aliases, and by
        administrators; those of a namespace by its application service. Raises `InvalidParam`,
        `NotFound`, `Forbidden`, `Exclusive`.
        """
        checked = self._check_own(alias)
        if user.service_id is not None or not user.is_admin:
            self._services.check_alias(checked, user.service_id)
        stored = await find_alias(self._db, checked)
        if stored is None:
            raise NotFound(f"Room alias {alias} not found")
        is_trusted = user.is_admin or user.service_id is not None
        allowed = is_trusted or stored.creator_nid == user.user_nid
        if not allowed and not await self._may_announce(user.user_id, stored.room_id):
            raise Forbidden(f"You may not remove {alias}")
        await delete_alias(self._db, checked)
        await self._withdraw(user.user_id, stored.room_id, checked)

    async def list_local(self, user: AliasUser, room_id: str) -> list[str]:
        """This server's aliases of a room, for its members, or for all if it is world-readable.

        Raises `Forbidden`.
        """
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise Forbidden("You are not in this room")
        if not (
            user.is_admin
            or await is_joined(self._db, user.user_nid, room.room_nid)
            or await is_world_readable(self._db, self._names, room.room_nid)
        ):
            raise Forbidden("You are not in this room")
        return await aliases_of(self._db, room_id)

    async def check_canonical(self, room_id: RoomId, content: Mapping[str, Any]) -> None:
        """Check that the aliases that a canonical alias event adds lead to its room.

        Raises `InvalidParam` (not an alias), `BadAlias` (of another room).
        """
        room = await self._names.rooms.find(room_id)
        if room is None:
            return
        announced = await find_current_event(self._db, room.room_nid, CANONICAL_ALIAS)
        known = set(listed_aliases(announced.content)) if announced else set()
        check_form(content)
        for alias in dict.fromkeys(listed_aliases(content)):
            if alias not in known:
                await self._check_leads_to(alias, room_id)

    async def _check_leads_to(self, alias: str, room_id: RoomId) -> None:
        try:
            target = await self.resolve(alias)
        except NotFound as error:
            raise BadAlias(f"The alias {alias} does not exist") from error
        if target.room_id != room_id:
            raise BadAlias(f"The alias {alias} does not point to this room")

    def _check_own(self, alias: str) -> RoomAlias:
        checked = check_room_alias(alias)
        if server_of(checked) != self._server_name:
            raise InvalidParam(f"{alias} is not an alias of this server")
        return checked

    async def _may_announce(self, user_id: UserId, room_id: RoomId) -> bool:
        """Whether the user may change the room's canonical alias."""
        try:
            room = await self._live.get(room_id)
        except NotFound:
            return False
        async with room.lock:
            return await may_send_state(self._live, room, user_id, CANONICAL_ALIAS[0])

    async def _withdraw(self, user_id: UserId, room_id: RoomId, alias: RoomAlias) -> None:
        """Take a removed alias out of the room's canonical alias event, if the user may."""
        room = await self._names.rooms.find(room_id)
        if room is None:
            return
        announced = await find_current_event(self._db, room.room_nid, CANONICAL_ALIAS)
        if announced is None or alias not in listed_aliases(announced.content):
            return
        if await self._may_announce(user_id, room_id):
            content = without_alias(announced.content, alias)
            await self._send.send(room_id, NewEvent(user_id, CANONICAL_ALIAS[0], content, ""))


async def may_send_state(live: LiveRooms, room: LiveRoom, user_id: UserId, event_type: str) -> bool:
    """Whether the user is in the room and may send state of a type; hold the room's lock."""
    place = member_place(user_id)
    await live.load_entries(room, (CREATE, POWER_LEVELS, place))
    member, power = room.state[place], room.power
    if member is None or member.pdu.content.get("membership") != "join" or power is None:
        return False
    return power.of(user_id) >= power.required_for(event_type, is_state=True)


def check_form(content: Mapping[str, Any]) -> None:
    """Raise `InvalidParam` unless the aliases of a canonical alias event are strings."""
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    if alias is not None and not isinstance(alias, str):
        raise InvalidParam("'alias' must be a string")
    if alternatives is None:
        return
    if not isinstance(alternatives, list) or not all(isinstance(a, str) for a in alternatives):
        raise InvalidParam("'alt_aliases' must be an array of strings")


def listed_aliases(content: Mapping[str, Any]) -> Sequence[str]:
    """The aliases that a canonical alias event announces."""
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    listed = [alias, *(alternatives if isinstance(alternatives, list) else ())]
    return [one for one in listed if isinstance(one, str) and one]


def without_alias(content: Mapping[str, Any], alias: str) -> dict[str, Any]:
    """The content of a canonical alias event that announces one alias less."""
    kept = dict(content)
    if kept.get("alias") == alias:
        del kept["alias"]
    alternatives = kept.pop("alt_aliases", None)
    if isinstance(alternatives, list):
        remaining = [one for one in alternatives if one != alias]
        if remaining:
            kept["alt_aliases"] = remaining
    return kept
