"""Asking a policy server to sign an event.

Source: server-server API, `POST /_matrix/policy/v1/sign`.
"""

from collections.abc import Mapping
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer
from federation.protocol.identifiers import ServerName

SIGN_TIMEOUT_S = 10.0
SIGN_MAX_BYTES = 65_536


class RemotePolicyServers:
    """Asks; raises `FederationError`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def sign(self, server: ServerName, event: bytes) -> Mapping[str, Any]:
        """The signatures that the server adds to an event, by server and key."""
        path = build_path("policy", "v1", "sign")
        answer = await self._client.request(
            server, "POST", path, body=event, timeout_s=SIGN_TIMEOUT_S, max_bytes=SIGN_MAX_BYTES
        )
        if not isinstance(answer, Mapping):
            raise BadAnswer(server, "The answer has no signatures")
        return answer
