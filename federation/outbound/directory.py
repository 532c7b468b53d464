"""Asking a server for its aliases, its room directory, its spaces and its users' profiles.

Source: server-server API, "Querying for information", "Published Room Directory", "Spaces".
"""

from collections.abc import Mapping
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer
from federation.protocol.identifiers import ServerName, is_valid_room_id, is_valid_server_name

QUERY_TIMEOUT_S = 20.0
PROFILE_TIMEOUT_S = 10.0
PROFILE_MAX_BYTES = 262_144
"""A profile may take 64 KiB; some servers write it with escapes."""
HIERARCHY_TIMEOUT_S = 10.0
HIERARCHY_MAX_BYTES = 2 * 1_048_576
MAX_SERVERS = 100


class RemoteDirectory:
    """Asks; every function raises `FederationError`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def find_alias(self, server: ServerName, alias: str) -> tuple[str, list[str]]:
        """The room that an alias leads to, and servers that are in it."""
        answer = await self._client.request(
            server,
            "GET",
            build_path("federation", "v1", "query", "directory"),
            query={"room_alias": alias},
            timeout_s=QUERY_TIMEOUT_S,
        )
        room_id = answer.get("room_id") if isinstance(answer, Mapping) else None
        servers = answer.get("servers") if isinstance(answer, Mapping) else None
        if not isinstance(room_id, str) or not is_valid_room_id(room_id):
            raise BadAnswer(server, "The answer has no room ID")
        named = servers if isinstance(servers, list) else []
        good = [s for s in named[:MAX_SERVERS] if isinstance(s, str) and is_valid_server_name(s)]
        return room_id, good or [server]

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """A page of the directory as the server has it."""
        answer = await self._client.request(
            server,
            "POST",
            build_path("federation", "v1", "publicRooms"),
            body=query,
            timeout_s=QUERY_TIMEOUT_S,
        )
        if not isinstance(answer, Mapping) or not isinstance(answer.get("chunk"), list):
            raise BadAnswer(server, "The answer is not a page of rooms")
        return answer

    async def profile(
        self, server: ServerName, user_id: str, field: str | None = None
    ) -> Mapping[str, Any]:
        """The profile of one of the server's users, or one field of it."""
        answer = await self._client.request(
            server,
            "GET",
            build_path("federation", "v1", "query", "profile"),
            query={"user_id": user_id, "field": field},
            timeout_s=PROFILE_TIMEOUT_S,
            max_bytes=PROFILE_MAX_BYTES,
        )
        if not isinstance(answer, Mapping):
            raise BadAnswer(server, "The answer is not a profile")
        return answer

    async def hierarchy(
        self, server: ServerName, room_id: str, *, suggested_only: bool
    ) -> Mapping[str, Any]:
        """A room and its children: `room`, `children`, `inaccessible_children`."""
        answer = await self._client.request(
            server,
            "GET",
            build_path("federation", "v1", "hierarchy", room_id),
            query={"suggested_only": suggested_only},
            timeout_s=HIERARCHY_TIMEOUT_S,
            max_bytes=HIERARCHY_MAX_BYTES,
        )
        if not isinstance(answer, Mapping) or not isinstance(answer.get("room"), Mapping):
            raise BadAnswer(server, "The answer has no room")
        return answer
