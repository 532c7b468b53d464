"""Managing delayed events of other homeservers' users, who have handed over their IDs.

That is an endpoint for clients, so it is where the server's file for clients says.
Source: MSC4140, "Managing delayed events"; client-server API, "Server Discovery".
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from federation.outbound.connections import Connections, read_beginning, reason_of
from federation.outbound.errors import BadAnswer, Refused, Unreachable
from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, NotFound, NotJson
from federation.protocol.identifiers import ServerName

PREFIX = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
TIMEOUT_S = 20.0
MAX_BYTES = 65_536
WORTH_REPEATING = (408, 429)
"""Refusals after which the same may be tried again."""


class RemoteDelayedEvents:
    """The delayed events of one homeserver."""

    def __init__(self, connections: Connections, server: ServerName) -> None:
        self._connections = connections
        self._server = server

    async def restart(self, delay_id: str) -> None:
        """Have it wait its whole delay again. Raises `NotFound`, `FederationError`."""
        await self._manage(delay_id, "restart")

    async def send(self, delay_id: str) -> None:
        """Send it now. Raises `NotFound`, `FederationError`."""
        await self._manage(delay_id, "send")

    async def _manage(self, delay_id: str, action: str) -> None:
        base_url = await self._base_url()
        url = f"{base_url}{PREFIX}/{quote(delay_id, safe='')}/{action}"
        status, answer = await self._request("POST", url, {})
        if 400 <= status < 500 and status not in WORTH_REPEATING:
            raise NotFound("There is no such delayed event, or nothing that can be done with it")
        if status != 200:
            raise Refused(self._server, status, answer)

    async def _base_url(self) -> str:
        """Where clients find the server: as its file says, or at its name."""
        plain = f"https://{self._server}"
        status, answer = await self._request("GET", f"{plain}/.well-known/matrix/client")
        if status == 404:
            return plain
        homeserver = answer.get("m.homeserver")
        base_url = homeserver.get("base_url") if isinstance(homeserver, Mapping) else None
        if status != 200 or not isinstance(base_url, str) or not base_url.startswith("https://"):
            raise BadAnswer(self._server, "Its file for clients says not where it is")
        return base_url.rstrip("/")

    async def _request(
        self, method: str, url: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """The status and the object of an answer; no object counts as an empty one."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._connections.session().request(
                    method,
                    URL(url, encoded=True),
                    data=None if body is None else orjson.dumps(body),
                    headers={} if body is None else {"Content-Type": "application/json"},
                    # A file may lie elsewhere; an action is meant for whom it was sent to.
                    allow_redirects=method == "GET",
                    max_redirects=3,
                ) as response,
            ):
                return response.status, _object(await read_beginning(response, MAX_BYTES))
        except TimeoutError as error:
            raise Unreachable(self._server, "no complete answer came in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(self._server, reason_of(error)) from error


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = canonical_json.decode(data, exact=False)
    except (NotJson, BadJson):
        return {}
    return value if isinstance(value, Mapping) else {}
