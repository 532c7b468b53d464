"""Asking servers whose OpenID tokens are.

Source: server-server API, "OpenID".
"""

from collections.abc import Mapping

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer, Refused
from federation.protocol.identifiers import ServerName

TIMEOUT_S = 10.0
MAX_BYTES = 65_536
UNKNOWN_TOKEN = (400, 401, 403)
"""What servers answer that do not know a token."""


class RemoteOpenIds:
    """Asks."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def find_user(self, server: ServerName, token: str) -> str | None:
        """Whom a server names, unchecked; None if it does not know the token.

        Raises `FederationError`.
        """
        try:
            answer = await self._client.request(
                server,
                "GET",
                build_path("federation", "v1", "openid", "userinfo"),
                query={"access_token": token},
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_BYTES,
                signed=False,
            )
        except Refused as refusal:
            if refusal.answer_status in UNKNOWN_TOKEN:
                return None
            raise
        named = answer.get("sub") if isinstance(answer, Mapping) else None
        if not isinstance(named, str):
            raise BadAnswer(server, "The answer names no user")
        return named
