"""Published rooms and aliases of this server, for other servers.

Source: server-server API, "Published Room Directory", `GET /query/directory`.
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import PublicRoomsQuery
from federation.protocol.errors import Forbidden, InvalidParam
from federation.protocol.identifiers import RoomAlias, ServerName, server_of
from homeserver.config.sections.rooms import Rooms as RoomSettings
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.directory import MAX_LIMIT, Directory
from homeserver.rooms.ports import AliasTarget, DirectoryQuery


class ServedDirectory:
    """Tells other servers of rooms that they may have heard of, or want to find."""

    def __init__(
        self,
        directory: Directory,
        aliases: Aliases,
        settings: RoomSettings,
        server_name: ServerName,
    ) -> None:
        self._directory = directory
        self._aliases = aliases
        self._settings = settings
        self._server_name = server_name

    async def public_rooms(self, query: PublicRoomsQuery) -> Mapping[str, Any]:
        """A page of the directory; a limit of 0 means as many as there may be in one.

        Raises `Forbidden` where the directory is not shown to other servers, `InvalidParam`.
        """
        if not self._settings.directory_over_federation:
            raise Forbidden("This server does not show its room directory to other servers")
        return await self._directory.local_page(
            DirectoryQuery(
                limit=min(query.limit or MAX_LIMIT, MAX_LIMIT),
                since=query.since,
                search_term=query.search_term,
                room_types=query.room_types,
                third_party_network=query.third_party_network,
                all_networks=query.all_networks,
            )
        )

    async def find_alias(self, alias: RoomAlias) -> AliasTarget:
        """Where an alias of this server leads. Raises `InvalidParam` (another's), `NotFound`."""
        if server_of(alias) != self._server_name:
            raise InvalidParam(f"{alias} is not an alias of this server")
        return await self._aliases.resolve(alias)
