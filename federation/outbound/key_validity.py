"""Asking an identity server whether a key of a third-party invite still counts.

Source: client-server API, "Third-party invites", server behaviour; identity service API,
`GET /pubkey/isvalid`.
"""

import asyncio

import aiohttp
from yarl import URL

from federation.outbound.connections import Connections, reason_of
from federation.outbound.errors import Unreachable
from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, NotJson
from federation.protocol.identifiers import ServerName

TIMEOUT_S = 10.0
MAX_BYTES = 65_536


class KeyValidity:
    """Asks by way of the guarded connections: the URL is in the hand of whoever made the invite."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def is_valid(self, url: str, public_key: str) -> bool:
        """Whether the key counts; not if the URL is none of HTTPS. Raises `Unreachable`."""
        try:
            target = URL(url).extend_query(public_key=public_key)
        except ValueError:
            return False
        if target.scheme != "https" or not target.host:
            return False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask(target)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(ServerName(target.host), reason_of(error)) from error

    async def _ask(self, target: URL) -> bool:
        async with self._connections.session().get(target, allow_redirects=False) as response:
            if response.status != 200:
                return False
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    return False
        try:
            answer = canonical_json.decode(bytes(body))
        except (NotJson, BadJson):
            return False
        return isinstance(answer, dict) and answer.get("valid") is True
