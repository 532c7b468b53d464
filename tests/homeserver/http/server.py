"""A real HTTP server on loopback for the tests of the HTTP layer."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from yarl import URL

from federation.protocol.endpoint import Endpoint
from federation.protocol.identifiers import DeviceId, ServerName, UserId
from homeserver.config.sections.server import Server
from homeserver.config.sections.well_known import WellKnown
from homeserver.config.settings import Settings
from homeserver.http.authenticate import Authenticator, ServerAuth
from homeserver.http.call import Call
from homeserver.http.dispatch import Dispatcher
from homeserver.http.listener import HttpServer, ListenAddress
from homeserver.http.settings import HttpSettings
from homeserver.services import Services
from homeserver.users.requester import Requester

NOW_MS = 1_700_000_000_000
ALICE = Requester(
    user_id=UserId("@alice:test"),
    user_nid=1,
    device_id=DeviceId("PHONE"),
    device_nid=11,
    token_id=111,
)
TOKENS = {
    "alice": ALICE,
    "bob": replace(ALICE, user_id=UserId("@bob:test"), user_nid=2),
    "guest": replace(ALICE, is_guest=True),
    "admin": replace(ALICE, is_admin=True),
    "locked": replace(ALICE, is_locked=True),
    "suspended": replace(ALICE, is_suspended=True),
    "deactivated": replace(ALICE, is_deactivated=True),
    "expired": replace(ALICE, expires_at_ms=NOW_MS),
    "fresh": replace(ALICE, expires_at_ms=NOW_MS + 1),
}


class KnownSessions:
    """Sessions that are given beforehand."""

    async def find(self, token: str) -> Requester | None:
        return TOKENS.get(token)


@dataclass
class RecordingServerAuth:
    """Believes everybody and keeps what it was asked."""

    seen: list[dict[str, Any]] = field(default_factory=list)

    async def verify(self, **asked: Any) -> ServerName:
        self.seen.append(asked)
        return ServerName("other.test")


@dataclass(frozen=True)
class RunningServer:
    """A started server, with a client for it."""

    http: HttpServer
    dispatcher: Dispatcher
    session: aiohttp.ClientSession
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def request(
        self, method: str, target: str, *, token: str | None = None, **kwargs: Any
    ) -> aiohttp.ClientResponse:
        """Send a request and read the whole answer."""
        headers = dict(kwargs.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        response = await self.session.request(
            method, URL(self.url + target, encoded=True), headers=headers, **kwargs
        )
        await response.read()
        return response

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def running_server(
    endpoints: Iterable[Endpoint[Call]],
    *,
    settings: HttpSettings | None = None,
    well_known: WellKnown | None = None,
    address: ListenAddress | None = None,
    server_auth: ServerAuth | None = None,
) -> AsyncIterator[RunningServer]:
    """A server with these endpoints; no rate limits unless the settings say so."""
    settings = settings or HttpSettings()
    address = address or ListenAddress("127.0.0.1", 0)
    configuration = Settings(server=Server("test"), well_known=well_known or WellKnown())
    services = cast(Services, SimpleNamespace(settings=configuration))
    authenticator = Authenticator(KnownSessions(), server_auth, lambda: NOW_MS)
    dispatcher = Dispatcher(endpoints, services, authenticator, settings)
    server = HttpServer(dispatcher, settings)
    await server.start([address])
    async with aiohttp.ClientSession() as session:
        scheme = "https" if address.tls else "http"
        try:
            yield RunningServer(server, dispatcher, session, server.ports[0], scheme)
        finally:
            await server.stop(grace_s=1)


async def body_of(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an answer that was read already."""
    return await response.json()


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and errcode of an answer."""
    return response.status, (await response.json())["errcode"]
