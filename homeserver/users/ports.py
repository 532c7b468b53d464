"""What accounts need of other services."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from federation.protocol.identifiers import DeviceId, UserId
from storage.committer import Write

Announce = Callable[[str], Awaitable[None]]
"""Tells the other processes over the same database; they hand the text to `Sessions.hear`."""


class DeviceLists(Protocol):
    """End-to-end encryption's view of devices."""

    async def writes_for_change(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        """What is stored together with a change of devices' names, so that others hear."""

    async def writes_for_removal(
        self, user_nid: int, user_id: UserId, device_ids: Sequence[DeviceId]
    ) -> Sequence[Write]:
        """What is stored together with a removal of devices."""

    async def announce_again(self, users: Sequence[tuple[int, UserId, DeviceId]]) -> None:
        """Have other servers look at users' devices again; of each user one device is named."""

    async def note_new_device(self, user_nid: int, user_id: UserId, device_id: DeviceId) -> None:
        """A device was added."""

    async def may_log_in(self, user_nid: int, device_id: DeviceId) -> bool:
        """Whether a session of the user may have this device ID."""


class UserRooms(Protocol):
    """The rooms that a user is in."""

    async def leave_all_rooms(self, user_id: UserId) -> None:
        """Leave all rooms, turn down all invites, take back all knocks; safe to repeat."""

    async def join_first_rooms(self, user_id: UserId) -> None:
        """Join the rooms that every new user of this server joins."""


class ReservedNames(Protocol):
    """User IDs that application services have for themselves."""

    def is_reserved(self, user_id: UserId) -> bool:
        """Whether only an application service may make this user."""


class ServiceUsers(Protocol):
    """The users that application services look after."""

    async def make_user_known(self, user_id: UserId) -> bool:
        """Whether a service has made the user, who has no account, just now."""


class MemberEvents(Protocol):
    """A user's own member events in the rooms that the user is in."""

    async def update_member_profiles(
        self, user_id: UserId, displayname: str | None, avatar_url: str | None
    ) -> None:
        """Show the new name and avatar in all rooms."""


class RemoteProfiles(Protocol):
    """What other servers tell of their users."""

    async def profile(self, user_id: UserId) -> Mapping[str, Any]:
        """All fields of a profile.

        Raises `NotFound`, `Forbidden` as the other server does, `FederationError` when it does not
        answer.
        """


class IdentityServers(Protocol):
    """Servers that know whose an e-mail address or telephone number is."""

    async def bind(
        self, server: str, access_token: str, session_id: str, client_secret: str, user_id: UserId
    ) -> tuple[str, str]:
        """Bind an address that was proved there to a user; medium and address."""

    async def unbind(self, server: str, user_id: UserId, medium: str, address: str) -> bool:
        """Have a user's address forgotten; False if the server cannot do that."""
