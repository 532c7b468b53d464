"""Invites of users whom an application service knows and who are not here yet.

The service is asked for the user before the invite is made, so that the user is there when the
service hears of it.
Source: application service API, `GET /users/{userId}`.
"""

from typing import Protocol

from federation.protocol.identifiers import UserId
from homeserver.appservices.queries import ServiceQueries


class Invitations(Protocol):
    """Whose invites users take."""

    async def check_invite(self, inviter: str, invitee: UserId) -> None:
        """Raise `InviteBlocked` if the user takes no invites from the inviter."""


class AskedInvitations:
    """Asks for unknown users first, then whether they take the invite."""

    def __init__(self, invitations: Invitations, queries: ServiceQueries) -> None:
        self._invitations = invitations
        self._queries = queries

    async def check_invite(self, inviter: str, invitee: UserId) -> None:
        """Raise `InviteBlocked` if the user takes no invites from the inviter."""
        await self._queries.make_unknown_user_known(invitee)
        await self._invitations.check_invite(inviter, invitee)
