"""Joining, knocking on and leaving rooms through a server that is in them.

Source: server-server API, "Joining Rooms", "Knocking upon a room", "Leaving Rooms (Rejecting
Invites)", "Inviting to a room".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer, FederationError
from federation.outbound.fetch import STATE_MAX_BYTES, STATE_TIMEOUT_S, Fields, pdus
from federation.protocol.identifiers import ServerName

MAKE_TIMEOUT_S = 20.0
EXCHANGE_TIMEOUT_S = 30.0
"""Before it answers, the server asks an identity server and invites the user here."""
OF_OLD = ("1", "2")
"""The room versions that servers know which have version 1 of the invite endpoint only."""
V1_FALLBACK = 404
"""The status by which a server tells that it does not have version 2 of an endpoint."""


@dataclass(frozen=True, slots=True)
class RemoteTemplate:
    """A member event to be completed, and the version of its room."""

    room_version: str
    event: Fields


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What a server answered to a join: the state before it, who vouches, the join as it is now."""

    state: Sequence[Fields]
    auth_chain: Sequence[Fields]
    event: Fields | None


class RemoteDoors:
    """Asks servers to let users in and out; every function raises `FederationError`.

    Without `backoff` a server is asked that failed a short while ago, too.
    """

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def make_join(
        self,
        server: ServerName,
        room_id: str,
        user_id: str,
        versions: Sequence[str],
        *,
        backoff: bool = True,
    ) -> RemoteTemplate:
        """A join to be signed."""
        path = build_path("federation", "v1", "make_join", room_id, user_id)
        return await self._make(server, path, versions, backoff=backoff)

    async def send_join(
        self, server: ServerName, room_id: str, event_id: str, event: Fields
    ) -> JoinAnswer:
        """Hand in a signed join."""
        answer = await self._put(
            server, "send_join", room_id, event_id, event, timeout_s=STATE_TIMEOUT_S
        )
        signed = answer.get("event")
        return JoinAnswer(
            pdus(answer, "state", server),
            pdus(answer, "auth_chain", server),
            signed if isinstance(signed, Mapping) else None,
        )

    async def make_knock(
        self,
        server: ServerName,
        room_id: str,
        user_id: str,
        versions: Sequence[str],
        *,
        backoff: bool = True,
    ) -> RemoteTemplate:
        """A knock to be signed."""
        path = build_path("federation", "v1", "make_knock", room_id, user_id)
        return await self._make(server, path, versions, backoff=backoff)

    async def send_knock(
        self, server: ServerName, room_id: str, event_id: str, event: Fields
    ) -> list[Fields]:
        """Hand in a signed knock; the stripped state of the room."""
        path = build_path("federation", "v1", "send_knock", room_id, event_id)
        answer = await self._client.request(server, "PUT", path, body=event)
        return pdus(answer, "knock_room_state", server)

    async def make_leave(
        self, server: ServerName, room_id: str, user_id: str, *, backoff: bool = True
    ) -> RemoteTemplate:
        """A leave to be signed."""
        path = build_path("federation", "v1", "make_leave", room_id, user_id)
        return await self._make(server, path, None, backoff=backoff)

    async def send_leave(
        self, server: ServerName, room_id: str, event_id: str, event: Fields
    ) -> None:
        """Hand in a signed leave."""
        await self._put(server, "send_leave", room_id, event_id, event, timeout_s=None)

    async def invite(
        self,
        server: ServerName,
        room_id: str,
        event_id: str,
        event: Fields,
        room_version: str,
        stripped_state: Sequence[Fields],
    ) -> Fields:
        """Tell a server of an invite of one of its users; the invite with its signature."""
        body = {
            "event": event,
            "room_version": room_version,
            "invite_room_state": list(stripped_state),
        }
        path = build_path("federation", "v2", "invite", room_id, event_id)
        try:
            answer = await self._client.request(server, "PUT", path, body=body)
        except FederationError as error:
            if error.answer_status not in (400, 404) or room_version not in OF_OLD:
                raise
            path = build_path("federation", "v1", "invite", room_id, event_id)
            body = {**event, "unsigned": {"invite_room_state": list(stripped_state)}}
            old = await self._client.request(server, "PUT", path, body=body)
            answer = old[1] if isinstance(old, list) and len(old) > 1 else old
        signed = answer.get("event") if isinstance(answer, Mapping) else None
        if not isinstance(signed, Mapping):
            raise BadAnswer(server, "The answer has no event")
        return signed

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: str, event: Fields
    ) -> None:
        """Have the server of who made a third-party invite turn it into an invite."""
        path = build_path("federation", "v1", "exchange_third_party_invite", room_id)
        await self._client.request(server, "PUT", path, body=event, timeout_s=EXCHANGE_TIMEOUT_S)

    async def _make(
        self, server: ServerName, path: str, versions: Sequence[str] | None, *, backoff: bool
    ) -> RemoteTemplate:
        query = None if versions is None else {"ver": list(versions)}
        answer = await self._client.request(
            server, "GET", path, query=query, timeout_s=MAKE_TIMEOUT_S, backoff=backoff
        )
        event = answer.get("event") if isinstance(answer, Mapping) else None
        # Servers of old leave the version out for rooms of version 1.
        version = answer.get("room_version", "1") if isinstance(answer, Mapping) else None
        if not isinstance(event, Mapping) or not isinstance(version, str):
            raise BadAnswer(server, "The answer is not a template of an event")
        return RemoteTemplate(version, event)

    async def _put(
        self,
        server: ServerName,
        name: str,
        room_id: str,
        event_id: str,
        event: Fields,
        *,
        timeout_s: float | None,
    ) -> Mapping[str, Any]:
        """PUT to version 2 of an endpoint, or to version 1, whose answers are in an array."""
        try:
            answer = await self._client.request(
                server,
                "PUT",
                build_path("federation", "v2", name, room_id, event_id),
                body=event,
                timeout_s=timeout_s,
                max_bytes=STATE_MAX_BYTES,
                max_depth=None,
            )
        except FederationError as error:
            if error.answer_status != V1_FALLBACK or error.answer_errcode != "M_UNRECOGNIZED":
                raise
            old = await self._client.request(
                server,
                "PUT",
                build_path("federation", "v1", name, room_id, event_id),
                body=event,
                timeout_s=timeout_s,
                max_bytes=STATE_MAX_BYTES,
                max_depth=None,
            )
            answer = old[1] if isinstance(old, list) and len(old) > 1 else old
        if not isinstance(answer, Mapping):
            raise BadAnswer(server, "The answer is not an object")
        return answer
