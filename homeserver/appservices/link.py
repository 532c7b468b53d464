"""Requests to application services.

Their URLs are the operator's own words, so these connections do not pass the guard that keeps
strangers from making us connect to our own network: bridges mostly run beside the server. A URL
may also name a Unix socket.
Source: application service API, "Authorisation", "Legacy routes".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from homeserver.appservices.registrations import Registration

PREFIX = "/_matrix/app/v1"
LEGACY_THIRD_PARTY = "/_matrix/app/unstable"
UNIX = "unix://"
CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 10
"""To one service."""
MAX_ANSWER_BYTES = 1_048_576
NOT_SERVED = frozenset({404, 405, 501})
"""What a service answers that does not know a path. A 500 is its own trouble, and the older path
would only have it do the same twice."""


class ServiceUnreachable(Exception):
    """A service cannot be connected to, or breaks off; `timed_out` if it takes too long."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What a service has answered."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the service has done what it was asked."""
        return 200 <= self.status < 300

    def value(self) -> Any:
        """The JSON of the body; None if it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """A request to a service: the path below the API's prefix, and the older path for the same."""

    method: str
    path: str
    legacy_path: str | None = None
    body: bytes | None = None
    query: Sequence[tuple[str, str]] = ()


class ServiceLink:
    """The connections to one service."""

    def __init__(self, registration: Registration, *, token_in_query: bool) -> None:
        self._registration = registration
        self._token_in_query = token_in_query
        self._session: aiohttp.ClientSession | None = None

    async def call(self, request: ServiceRequest, timeout_s: float) -> ServiceAnswer:
        """Make a request; on the older path if the service does not know the newer one.

        Raises `ServiceUnreachable`.
        """
        answer = await self._send(request, PREFIX + request.path, timeout_s)
        if answer.status in NOT_SERVED and request.legacy_path is not None:
            older = await self._send(request, request.legacy_path, timeout_s)
            return answer if older.status in NOT_SERVED else older
        return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, request: ServiceRequest, path: str, timeout_s: float) -> ServiceAnswer:
        session = self._opened()
        try:
            async with session.request(
                request.method,
                self._url(path, request.query),
                data=request.body,
                headers=self._headers(request),
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                return ServiceAnswer(response.status, await read_answer(response))
        except TimeoutError as error:
            raise ServiceUnreachable("it has not answered in time", timed_out=True) from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise ServiceUnreachable(str(error) or type(error).__name__) from error

    def _url(self, path: str, query: Sequence[tuple[str, str]]) -> URL:
        registration = self._registration
        base = registration.url or ""
        url = URL("http://localhost" if base.startswith(UNIX) else base, encoded=True)
        asked = list(query)
        if self._token_in_query:
            asked.append(("access_token", registration.hs_token))
        whole = URL(str(url).rstrip("/") + path, encoded=True)
        return whole.update_query(asked) if asked else whole

    def _headers(self, request: ServiceRequest) -> Mapping[str, str]:
        headers = {"Authorization": f"Bearer {self._registration.hs_token}"}
        return headers | ({"Content-Type": "application/json"} if request.body is not None else {})

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            url = self._registration.url or ""
            connector = (
                aiohttp.UnixConnector(url.removeprefix(UNIX), limit=MAX_CONNECTIONS)
                if url.startswith(UNIX)
                else aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "hearth"},
                trust_env=False,
            )
        return self._session


async def read_answer(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer. Raises `ServiceUnreachable` if it is too long."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_ANSWER_BYTES:
            raise ServiceUnreachable(f"it answers more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
