"""What calls need of the rest."""

from typing import Protocol

from federation.protocol.identifiers import ServerName, UserId


class DelayedEvents(Protocol):
    """The delayed events of a homeserver (MSC4140), in the name of whoever knows an ID."""

    async def restart(self, delay_id: str) -> object:
        """Have it wait its whole delay again. Raises `NotFound`, `MatrixError`."""

    async def send(self, delay_id: str) -> object:
        """Send it now. Raises `NotFound`, `MatrixError`."""


class OpenIdTokens(Protocol):
    """The OpenID tokens of our own users."""

    async def find_openid_user(self, token: str) -> UserId | None:
        """The user who was given the token; None if it is not good."""


class RemoteOpenIds(Protocol):
    """The OpenID tokens of other servers' users."""

    async def find_user(self, server: ServerName, token: str) -> str | None:
        """Whom a server names, unchecked; None if it does not know the token.

        Raises `FederationError`.
        """


class LiveKitRooms(Protocol):
    """The rooms of a LiveKit server."""

    async def create_room(self, name: str) -> None:
        """Have a room, new or not. Raises `LiveKitFailed`."""

    async def is_in_room(self, room: str, identity: str) -> bool:
        """Whether a participant is connected. Raises `LiveKitFailed`."""

    async def remove(self, room: str, identity: str) -> None:
        """Cut a participant off; one who is not there is no error. Raises `LiveKitFailed`."""
