"""Asking other homeservers for tokens of their LiveKit servers.

Source: MSC4195, "Acquiring LiveKit access tokens".
"""

from collections.abc import Mapping
from typing import Any

from federation.outbound.client import FederationClient
from federation.outbound.errors import BadAnswer, Refused
from federation.protocol.errors import Unrecognized
from federation.protocol.identifiers import ServerName

PATHS = (
    "/_matrix/federation/unstable/io.element.msc4195/rtc/livekit/get_token",
    "/_matrix/federation/v1/rtc/livekit/get_token",
)
"""The name by which it is served while it is a proposal, and the one that it is to have."""
TIMEOUT_S = 20.0
MAX_BYTES = 65_536


class RemoteCallTokens:
    """Asks."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def get_token(self, server: ServerName, request: Mapping[str, Any]) -> str:
        """The token for a request, which has `user_id`, `url`, `room_id`, `slot_id`, `member_id`.

        Raises `FederationError`.
        """
        try:
            return await self._ask(server, PATHS[0], request)
        except Refused as refusal:
            if refusal.answer_errcode != Unrecognized.errcode:
                raise
        return await self._ask(server, PATHS[1], request)

    async def _ask(self, server: ServerName, path: str, request: Mapping[str, Any]) -> str:
        answer = await self._client.request(
            server, "POST", path, body=request, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES
        )
        token = answer.get("jwt") if isinstance(answer, Mapping) else None
        if not isinstance(token, str):
            raise BadAnswer(server, "The answer has no token")
        return token
