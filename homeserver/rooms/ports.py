"""What rooms need of other services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from federation.protocol.errors import Forbidden, NotFound
from federation.protocol.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from homeserver.rooms.send import NewEvent
from storage.names import RoomName


class MemberProfiles(Protocol):
    """How users of this server present themselves."""

    async def get(self, user_id: UserId) -> Mapping[str, str]:
        """`displayname` and `avatar_url`, each only where the user has one."""


class Invitations(Protocol):
    """Whose invites users of this server take."""

    async def check_invite(self, inviter: str, invitee: UserId) -> None:
        """Raise `InviteBlocked` if the user takes no invites from the inviter."""


class KeyValidity(Protocol):
    """Identity servers, who say whether their keys still count."""

    async def is_valid(self, url: str, public_key: str) -> bool:
        """Whether a key counts, as the URL answers. Raises `Unreachable`."""


class ServiceAliases(Protocol):
    """The aliases that application services look after."""

    def check_alias(self, alias: RoomAlias, service_id: str | None) -> None:
        """Refuse an alias that is not for the service, or, without one, that is reserved.

        Raises `Exclusive`.
        """

    async def make_alias_known(self, alias: RoomAlias) -> bool:
        """Whether a service has made the alias, which was not there, just now.

        Raises `RequestTimeout` if the service that would know does not answer.
        """


class IdentityServers(Protocol):
    """Servers that know whose an e-mail address or telephone number is."""

    def check_trusted(self, server: str) -> None:
        """Raise `ServerNotTrusted` for one that is not talked to."""

    async def find_user(
        self, server: str, access_token: str, medium: str, address: str
    ) -> UserId | None:
        """To whom an address is bound, or None."""

    async def store_invite(
        self, server: str, access_token: str, invite: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Have an invite wait until its address is bound; token, keys and name to show."""


class PersonalSettings(Protocol):
    """What users have set for rooms: notifications, tags."""

    async def carry_over(
        self, user_id: UserId, user_nid: int, old: RoomName, new: RoomName
    ) -> None:
        """Set for the new room what is set for the old."""


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """Where an alias leads, and servers that know the room."""

    room_id: RoomId
    servers: Sequence[str]


@dataclass(frozen=True, slots=True)
class DirectoryQuery:
    """Which published rooms are asked for.

    `since` is a token of an earlier answer. `room_types` has None for rooms without type.
    """

    limit: int
    since: str | None = None
    search_term: str | None = None
    room_types: Sequence[str | None] | None = None
    third_party_network: str | None = None
    all_networks: bool = False


class RemoteRooms(Protocol):
    """Rooms that other servers hold, and their users.

    What concerns a room goes by way of one of `servers`, which are tried in order; further ones
    may be known otherwise. `content` is that of the member event.
    """

    async def join(
        self,
        user_id: UserId,
        room_id: RoomId,
        servers: Sequence[str],
        content: Mapping[str, Any],
    ) -> None:
        """Join a room. Raises `NotFound` (no server knows it), `Forbidden`."""

    async def knock(
        self,
        user_id: UserId,
        room_id: RoomId,
        servers: Sequence[str],
        content: Mapping[str, Any],
    ) -> None:
        """Knock on a room. Raises `NotFound`, `Forbidden`."""

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> None:
        """Turn down an invite, or take back a knock; it is gone here even if nobody hears of it.

        Raises `NotFound` for a room of which the user has neither.
        """

    async def invite(self, room_id: RoomId, invite: NewEvent) -> EventId:
        """Have the server of the invited user sign an invite, then let it into the room.

        Raises `Forbidden`, `IncompatibleRoomVersion`, `InviteBlocked`.
        """

    async def exchange(self, room_id: RoomId, invite: NewEvent) -> None:
        """Have the server of the sender turn a third-party invite into an invite.

        Raises what it answers, `FederationError`.
        """

    async def find_alias(self, alias: RoomAlias) -> AliasTarget:
        """Ask the server of an alias where it leads. Raises `NotFound`."""

    async def public_rooms(self, server: ServerName, query: DirectoryQuery) -> Mapping[str, Any]:
        """A page of another server's room directory. Raises `NotFound`."""


class NoRemoteRooms:
    """`RemoteRooms` for a server that keeps to itself."""

    async def join(
        self,
        user_id: UserId,  # noqa: ARG002
        room_id: RoomId,
        servers: Sequence[str],  # noqa: ARG002
        content: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """Raise `NotFound`."""
        refuse_room(room_id)

    async def knock(
        self,
        user_id: UserId,  # noqa: ARG002
        room_id: RoomId,
        servers: Sequence[str],  # noqa: ARG002
        content: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """Raise `NotFound`."""
        refuse_room(room_id)

    async def leave(
        self,
        user_id: UserId,  # noqa: ARG002
        room_id: RoomId,
        content: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """Raise `NotFound`."""
        refuse_room(room_id)

    async def invite(self, room_id: RoomId, invite: NewEvent) -> EventId:  # noqa: ARG002
        """Raise `Forbidden`."""
        raise Forbidden(f"{invite.state_key} is on another server, which cannot be reached")

    async def exchange(self, room_id: RoomId, invite: NewEvent) -> None:
        """Raise `Forbidden`."""
        raise Forbidden(f"The server of {invite.sender} in {room_id} cannot be reached")

    async def find_alias(self, alias: RoomAlias) -> AliasTarget:
        """Raise `NotFound`."""
        raise NotFound(f"The server of {alias} cannot be reached")

    async def public_rooms(
        self,
        server: ServerName,
        query: DirectoryQuery,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Raise `NotFound`."""
        raise NotFound(f"{server} cannot be reached")


def refuse_room(room_id: RoomId) -> NoReturn:
    """Raise `NotFound`."""
    raise NotFound(f"There is no room {room_id} here")
