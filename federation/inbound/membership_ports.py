"""What letting other servers' users in and out needs of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from federation.inbound.ports import SignedRequest
from federation.protocol.identifiers import RoomId, ServerName, UserId
from federation.protocol.pdu import Pdu

Fields = Mapping[str, Any]
"""An event as a JSON object."""


class Template(Protocol):
    """An event for another server to complete and sign."""

    @property
    def room_version(self) -> str:
        """The version of the event's room."""

    @property
    def event(self) -> Fields:
        """Its fields."""


class Admission(Protocol):
    """The room before a join, and who vouches; PDUs as JSON."""

    @property
    def event(self) -> bytes:
        """The join as it entered the room."""

    @property
    def state(self) -> Sequence[bytes]:
        """The state before it."""

    @property
    def auth_chain(self) -> Sequence[bytes]:
        """What vouches for join and state."""

    @property
    def servers(self) -> Sequence[str]:
        """The servers in the room."""

    @property
    def members_omitted(self) -> bool:
        """Whether the state lacks the members."""


class Doors(Protocol):
    """The rooms that this server is in."""

    async def template(
        self,
        origin: ServerName,
        room_id: str,
        user_id: str,
        membership: str,
        versions: Sequence[str] | None = None,
    ) -> Template:
        """A member event that the room would take. Raises `NotFound`, `Forbidden`."""

    async def admit(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        fields: Fields,
        membership: str,
        *,
        omit_members: bool = False,
    ) -> Admission:
        """Take a join. Raises `NotFound`, `InvalidParam`, `Forbidden`."""

    async def take(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        fields: Fields,
        membership: str,
    ) -> Sequence[Fields]:
        """Take a leave or a knock; what an outsider is told of the room. Raises as `admit`."""


class Invites(Protocol):
    """Invites for users of this server."""

    async def take_invite(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        version_id: str,
        fields: Fields,
        stripped_state: Sequence[Fields],
    ) -> Pdu:
        """Sign an invite and show it to its user. Raises `InvalidParam`, `InviteBlocked`."""


@dataclass(frozen=True, slots=True)
class PendingInvite:
    """An invite that waited for its address to be bound to a user; `signed` is the proof."""

    room_id: RoomId
    sender: UserId
    signed: Mapping[str, Any]


class ThirdPartyInvites(Protocol):
    """Invites by address."""

    async def bound(self, user_id: UserId, invites: Sequence[PendingInvite]) -> None:
        """An address was bound to a user of ours; the invites that waited for it are made.

        Raises `NotFound` (no such user), `Forbidden`.
        """

    async def exchange(self, origin: ServerName, room_id: RoomId, event: Fields) -> None:
        """Turn an offer that a user of ours made into an invite of a user of `origin`.

        Raises `InvalidParam` (not such an event), `Forbidden`, `NotFound`.
        """


class MembershipServices(Protocol):
    """The services of a server that takes in members."""

    @property
    def resident(self) -> Doors:
        """The rooms that this server is in."""

    @property
    def elsewhere(self) -> Invites:
        """Invites from elsewhere."""

    @property
    def third_party_invites(self) -> ThirdPartyInvites:
        """Invites by address."""


class MembershipCall(SignedRequest, Protocol):
    """A request as the handlers of memberships know it."""

    @property
    def services(self) -> MembershipServices:
        """What the server can do."""

    def query_list(self, name: str) -> list[str]:
        """All values of a query parameter."""

    def query_bool(self, name: str, *, default: bool) -> bool:
        """A flag. Raises `InvalidParam`."""
