"""Signed requests to other servers.

Source: server-server API, "API standards" and "Request Authentication".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from federation.outbound.address_guard import AddressDenied
from federation.outbound.backoff import Backoff
from federation.outbound.connections import CONNECT_TIMEOUT_S, Connections, reason_of
from federation.outbound.discovery import Discovery
from federation.outbound.errors import (
    BadAnswer,
    FederationError,
    NotFederating,
    Refused,
    Unreachable,
)
from federation.outbound.ports import Clock
from federation.protocol import canonical_json
from federation.protocol.errors import (
    BadJson,
    InvalidParam,
    NotJson,
    NotYetUploaded,
    RemoteTooLarge,
)
from federation.protocol.identifiers import ServerName
from federation.protocol.server_name import Target
from federation.protocol.signatures import SigningKey
from federation.protocol.x_matrix import authorization_header

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MAX_BYTES = 10 * 1_048_576
MAX_ERROR_BYTES = 65_536
HEALTHY = frozenset({NotYetUploaded.errcode, RemoteTooLarge.errcode})
"""What servers answer about single media, with statuses that otherwise stand for trouble."""
MAX_REFUSAL_WAIT_MS = 24 * 3_600_000

Query = Mapping[str, str | int | bool | Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose body is still arriving."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class FederationClient:
    """Asks other servers, in the name of ours."""

    __slots__ = (
        "_backoff",
        "_clock",
        "_connections",
        "_discovery",
        "_is_allowed",
        "_key",
        "_origin",
        "_timeout_s",
    )

    def __init__(
        self,
        origin: ServerName,
        key: SigningKey,
        connections: Connections,
        discovery: Discovery,
        backoff: Backoff,
        clock: Clock,
        *,
        is_allowed: Callable[[ServerName], bool],
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._origin = origin
        self._key = key
        self._connections = connections
        self._discovery = discovery
        self._backoff = backoff
        self._clock = clock
        self._is_allowed = is_allowed
        self._timeout_s = timeout_s

    async def request(
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | bytes | None = None,
        timeout_s: float | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_depth: int | None = canonical_json.MAX_DEPTH,
        backoff: bool = True,
        signed: bool = True,
    ) -> Any:
        """The JSON that the server answers with: an object, or an array in some old endpoints.

        `path` is percent-encoded (`build_path`), `body` an object or its canonical JSON.
        `timeout_s` is for everything together, discovery included; `max_depth` None is for answers
        with events, each of which is looked at by itself. With `backoff` a destination
        that is left alone is not asked; what anybody may ask needs not be `signed`. Raises
        `FederationError`.
        """
        content = None if body is None else encode_body(body)
        uri = build_uri(path, query)
        async with self._watching(destination, timeout_s, backoff=backoff):
            async with self._exchange(destination, method, uri, content, signed=signed) as response:
                data = await read_limited(response, destination, max_bytes)
            return decode_answer(data, destination, max_depth)

    @asynccontextmanager
    async def stream(
        self,
        destination: ServerName,
        path: str,
        *,
        query: Query | None = None,
        timeout_s: float | None = None,
        backoff: bool = True,
    ) -> AsyncIterator[Streamed]:
        """GET something large: an answer whose body is read as it comes.

        The deadline is for the head of the answer; then each piece of the body has as long again.
        The caller limits size and time of the whole. Raises `FederationError`, also out of
        `chunks`.
        """
        uri = build_uri(path, query)
        async with (
            self._watching(destination, timeout_s, backoff=backoff) as deadline,
            self._exchange(destination, "GET", uri, None) as response,
        ):
            chunks = self._read_patiently(response, destination, deadline)
            yield Streamed(response.status, response.headers, chunks)

    async def _read_patiently(
        self, response: aiohttp.ClientResponse, destination: ServerName, deadline: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        """The body, with the deadline put off whenever something has come."""
        now_s = asyncio.get_running_loop().time
        deadline.reschedule(now_s() + self._timeout_s)
        async for chunk in read_chunks(response, destination):
            yield chunk
            deadline.reschedule(now_s() + self._timeout_s)

    async def can_connect(self, destination: ServerName) -> bool:
        """Whether anything listens where the server should be; costs it and us next to nothing."""
        try:
            targets = (await self._discovery.find(destination)).targets
        except InvalidParam:
            return False
        for target in targets:
            if await self._connections.can_connect(target.host, target.port):
                return True
        return False

    @asynccontextmanager
    async def _watching(
        self, destination: ServerName, timeout_s: float | None, *, backoff: bool
    ) -> AsyncIterator[asyncio.Timeout]:
        """Refuse or limit what is done inside, translate its errors, and learn from how it ends.

        Gives the deadline, which may be put off.
        """
        if destination == self._origin:
            raise NotFederating(destination, "this is the server itself")
        if not self._is_allowed(destination):
            raise NotFederating(destination, "federation with it is switched off")
        if backoff:
            await self._backoff.check(destination)
        began_ts = self._clock()
        deadline = asyncio.timeout(timeout_s or self._timeout_s)
        try:
            async with deadline:
                yield deadline
        except TimeoutError as error:
            if not deadline.expired():
                raise
            late = Unreachable(destination, "no complete answer came in time")
            await self._backoff.failed(destination, late, began_ts)
            raise late from error
        except FederationError as error:
            await self._learn(destination, error, began_ts)
            raise
        await self._backoff.succeeded(destination)

    async def _learn(self, destination: ServerName, error: FederationError, began_ts: int) -> None:
        if not error.reachable:
            self._discovery.doubt(destination)
        if error.reachable and not says_that_it_fails(error):
            await self._backoff.succeeded(destination)
        else:
            await self._backoff.failed(destination, error, began_ts)

    @asynccontextmanager
    async def _exchange(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        content: bytes | None,
        *,
        signed: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The successful answer to a request. Raises `Refused` for any other."""
        headers = {}
        if signed:
            headers["Authorization"] = authorization_header(
                method, uri, self._origin, destination, content, self._key
            )
        if content is not None:
            headers["Content-Type"] = "application/json"
        with translated(destination):
            response = await self._send(destination, method, uri, headers, content)
        async with response:
            if not 200 <= response.status < 300:
                raise await read_refusal(response, destination)
            yield response

    async def _send(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> aiohttp.ClientResponse:
        """The head of the answer, from the first of the server's places that lets us connect."""
        targets = (await self._discovery.find(destination)).targets
        if not targets:
            raise Unreachable(destination, "its DNS says that it offers no federation")
        for target in targets[:-1]:
            try:
                return await self._send_to(target, method, uri, headers, content)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                continue
        return await self._send_to(targets[-1], method, uri, headers, content)

    async def _send_to(
        self,
        target: Target,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        content: bytes | None,
    ) -> aiohttp.ClientResponse:
        headers = {**headers, "Host": target.host_header}
        if not self._connections.may_stay_open(target.host, target.port):
            headers["Connection"] = "close"
        return await self._connections.session().request(
            method,
            url_of(target, uri),
            headers=headers,
            data=content,
            server_hostname=target.tls_name,
            allow_redirects=False,
        )


def says_that_it_fails(error: FederationError) -> bool:
    """Whether an answer tells that the server is in trouble, not that it has nothing for us."""
    return (error.answer_status or 0) >= 500 and error.answer_errcode not in HEALTHY


def build_path(*segments: str) -> str:
    """A path from its unencoded segments: `build_path("federation", "v1", "event", event_id)`."""
    return "/_matrix/" + "/".join(quote(segment, safe="") for segment in segments)


def build_uri(path: str, query: Query | None) -> str:
    """The request target: what is sent and signed. Parameters that are None are left out."""
    given = {} if query is None else {name: v for name, v in query.items() if v is not None}
    if not given:
        return path
    texts = {name: _query_value(value) for name, value in given.items()}
    return f"{path}?{urlencode(texts, doseq=True, quote_via=quote)}"


def encode_body(body: Mapping[str, Any] | bytes) -> bytes:
    """The body's canonical JSON, which is sent and signed. Raises `BadJson`."""
    return body if isinstance(body, bytes) else canonical_json.encode_lax(body)


def url_of(target: Target, uri: str) -> URL:
    """The URL to request; its host is what is connected to."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return URL(f"https://{host}:{target.port}{uri}", encoded=True)


async def read_limited(
    response: aiohttp.ClientResponse, destination: ServerName, max_bytes: int
) -> bytes:
    """The whole body, decompressed. Raises `BadAnswer` when it is larger than `max_bytes`."""
    if (response.content_length or 0) > max_bytes:
        raise BadAnswer(destination, f"its answer is larger than {max_bytes} bytes")
    body = bytearray()
    async for chunk in read_chunks(response, destination):
        body += chunk
        if len(body) > max_bytes:
            raise BadAnswer(destination, f"its answer is larger than {max_bytes} bytes")
    return bytes(body)


async def read_chunks(
    response: aiohttp.ClientResponse, destination: ServerName
) -> AsyncIterator[bytes]:
    """The body as it arrives, decompressed. Raises `FederationError`."""
    with translated(destination):
        async for chunk in response.content.iter_any():
            yield chunk


def decode_answer(data: bytes, destination: ServerName, max_depth: int | None) -> Any:
    """The JSON object or array in a body. Raises `BadAnswer`.

    Only events are hashed and may hold integers of any size. All else is handed on or kept, and
    one such number of one user must not make a whole answer useless.
    """
    try:
        answer = canonical_json.decode(data, max_depth, exact=max_depth is None)
    except (NotJson, BadJson) as error:
        raise BadAnswer(destination, "its answer is not JSON, or nested too deeply") from error
    if not isinstance(answer, dict | list):
        raise BadAnswer(destination, "its answer is not a JSON object")
    return answer


async def read_refusal(response: aiohttp.ClientResponse, destination: ServerName) -> Refused:
    """The error for an answer that is no success, with as much as can be read of it."""
    try:
        data = await read_limited(response, destination, MAX_ERROR_BYTES)
        answer = canonical_json.decode(data, exact=False)
    except (BadAnswer, NotJson, BadJson):
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    wait_ms = _retry_after_ms(response.headers.get("Retry-After"), answer)
    return Refused(destination, response.status, answer, retry_after_ms=wait_ms)


@contextmanager
def translated(destination: ServerName) -> Iterator[None]:
    """Turns what connecting, sending and reading raise into `FederationError`."""
    try:
        yield
    except InvalidParam as error:
        raise Unreachable(destination, error.message, transient=False) from error
    except (aiohttp.ClientError, OSError) as error:
        raise translate(destination, error) from error


def translate(destination: ServerName, error: Exception) -> FederationError:
    """What a failure to connect, send or read means."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, AddressDenied):
        return Unreachable(destination, str(cause), transient=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unreachable(destination, f"no connection within {CONNECT_TIMEOUT_S:.0f} s")
    if isinstance(error, aiohttp.ClientSSLError):
        return Unreachable(destination, f"its TLS certificate or handshake is wrong: {cause}")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return BadAnswer(destination, f"its answer is not HTTP: {error}")
    return Unreachable(destination, f"the connection failed: {reason_of(error)}")


def _query_value(value: str | int | bool | Sequence[str]) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return list(value)


def _retry_after_ms(header: str | None, answer: Mapping[str, Any]) -> int | None:
    """How long a server asks to be left alone, at most a day."""
    told_ms = answer.get("retry_after_ms")
    if header is not None and header.isascii() and header.isdecimal() and len(header) < 10:
        told_ms = int(header) * 1000
    return min(max(told_ms, 0), MAX_REFUSAL_WAIT_MS) if type(told_ms) is int else None
