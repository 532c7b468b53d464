"""Whose an OpenID token is.

Source: client-server API, "OpenID"; server-server API, "OpenID".
"""

import asyncio
import logging

from federation.protocol.errors import MatrixError, Unauthorized
from federation.protocol.identifiers import (
    ServerName,
    UserId,
    check_user_id,
    is_valid_server_name,
    server_of,
)
from homeserver.calls.ports import OpenIdTokens, RemoteOpenIds
from homeserver.calls.requests import OpenIdToken

log = logging.getLogger("hearth.calls")

AT_ONCE = 64
"""Other servers that are asked beside each other."""


class OpenIds:
    """Finds out: our own tokens in the database, those of others by asking their servers."""

    def __init__(
        self, own_name: ServerName, own: OpenIdTokens, remote: RemoteOpenIds | None
    ) -> None:
        self._own_name = own_name
        self._own = own
        self._remote = remote
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def user_of(self, token: OpenIdToken) -> UserId:
        """The user whose server vouches for the token. Raises `Unauthorized`."""
        user_id = await self._find(token)
        if user_id is None or server_of(user_id) != token.server:
            raise Unauthorized("The request could not be authorised.")
        return user_id

    async def _find(self, token: OpenIdToken) -> UserId | None:
        if token.server == self._own_name:
            return await self._own.find_openid_user(token.access_token)
        if self._remote is None or not is_valid_server_name(token.server):
            return None
        try:
            async with self._turns:
                named = await self._remote.find_user(ServerName(token.server), token.access_token)
            return None if named is None else check_user_id(named)
        except MatrixError as error:
            # Why is for the operator: whoever asks might want to learn what we can reach.
            log.info("An OpenID token of %s cannot be checked: %s", token.server, error)
            return None
