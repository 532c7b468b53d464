"""The way of a request: match, admit, limit, read, handle, answer.

A call that has been read runs to its end even when its client hangs up: aiohttp is told not to
cancel handlers on disconnect (`handler_cancellation` stays off), because a cancellation may strike
between two steps of a write. Shielding each write instead would cost a task for every request and
rely on nobody forgetting it. Only long-polls, which wait for others' writes and do none, are
cancelled: they are registered here while they wait, and the listener reports lost connections.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from federation.protocol.canonical_json import MAX_HANDED_ON
from federation.protocol.endpoint import Access, Body, Endpoint, Rate
from federation.protocol.errors import MatrixError
from federation.protocol.response import Answer, Response, StreamedBody
from homeserver.http.authenticate import Authenticator
from homeserver.http.call import Call
from homeserver.http.client_address import TrustedProxies, address_to_limit
from homeserver.http.error_response import (
    error_response,
    internal_error_response,
    stopping_response,
)
from homeserver.http.rate_limit import RateLimiter
from homeserver.http.read_body import ClientGone, StreamedRequest, parse_object, read_body
from homeserver.http.reply import Reply, StreamedReply, build_head, compress, encode_json
from homeserver.http.request_id import RequestIds
from homeserver.http.router import Router
from homeserver.http.settings import HttpSettings

if TYPE_CHECKING:
    from homeserver.services import Services

log = logging.getLogger("hearth.http")

PREFLIGHT = Response(204, headers={"Access-Control-Max-Age": "86400"})

X_FORWARDED_FOR = "X-Forwarded-For"

Api = Literal["client", "federation"]

FEDERATION_PREFIXES = ("/_matrix/federation/", "/_matrix/key/", "/_matrix/policy/")
COMMON_PREFIXES = (
    "/health",
    "/.well-known/",
    "/_matrix/federation/v1/openid/",
    "/_matrix/federation/v1/version",
)
"""Clients ask which server they talk to, services beside them who its users are, and whoever looks
after the server whether it works."""


Observe = Callable[[Router, BaseRequest, int, float], None]
"""Takes the routes that a request was answered by, the request, the status and the seconds."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How answers are sent.

    Bodies longer than `gzip_over_bytes` are compressed for clients that understand it; None leaves
    that to a reverse proxy. Without `always_for_browsers` only requests of web pages are answered
    with the headers that web pages need.
    """

    gzip_over_bytes: int | None = None
    always_for_browsers: bool = True


@dataclass(frozen=True, slots=True)
class Door:
    """What differs between listeners: the endpoints that they serve and the proxies before them."""

    router: Router
    proxies: TrustedProxies
    manners: Manners


class Dispatcher:
    """Answers all requests of the server."""

    __slots__ = (
        "_authenticator",
        "_endpoints",
        "_idle",
        "_ids",
        "_in_flight",
        "_limiter",
        "_long_polls",
        "_observe",
        "_services",
        "_settings",
        "_stopping",
    )

    def __init__(
        self,
        endpoints: Iterable[Endpoint[Call]],
        services: "Services",
        authenticator: Authenticator,
        settings: HttpSettings,
        observe: Observe | None = None,
    ) -> None:
        """`observe` is told of each answer."""
        self._observe = observe
        self._endpoints = tuple(endpoints)
        self._services = services
        self._authenticator = authenticator
        self._settings = settings
        self._limiter = RateLimiter(settings.allowances, time.monotonic)
        self._ids = RequestIds()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._long_polls: dict[object, asyncio.Task[Any]] = {}
        self._stopping = False

    def door(self, apis: Collection[Api], trusted_proxies: Iterable[str], manners: Manners) -> Door:
        """A way in for the requests of a listener. Raises `ValueError` for paths claimed twice."""
        served = [endpoint for endpoint in self._endpoints if apis_of(endpoint.path) & set(apis)]
        return Door(Router(served), TrustedProxies(trusted_proxies), manners)

    @property
    def in_flight(self) -> int:
        """The requests that are being answered, those that wait for news among them."""
        return self._in_flight

    @property
    def long_polls(self) -> int:
        """The requests that wait for news."""
        return len(self._long_polls)

    async def answer(self, door: Door, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        self._in_flight += 1
        started_s = time.monotonic()
        request_id = self._ids.begin()
        try:
            answer = await self._find_answer(door, request, request_id)
            reply = await self._render(door.manners, request, request_id, answer)
        finally:
            self._in_flight -= 1
            if self._stopping and not self._in_flight:
                self._idle.set()
        if self._observe is not None:
            self._observe(door.router, request, reply.status, time.monotonic() - started_s)
        if log.isEnabledFor(logging.DEBUG):
            log_request(request, reply.status, time.monotonic() - started_s)
        return cast(StreamResponse, reply)

    def connection_lost(self, connection: object) -> None:
        """Cancel the long-poll of a client that hung up."""
        task = self._long_polls.pop(connection, None)
        if task is not None:
            task.cancel()

    async def drain(self, timeout_s: float) -> None:
        """End the long-polls and wait for the other calls in flight, at most so long.

        Calls that still arrive are answered, and their connections closed.
        """
        self._stopping = True
        for task in self._long_polls.values():
            task.cancel()
        if not self._in_flight:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%d requests did not finish in time", self._in_flight)

    async def _find_answer(self, door: Door, request: BaseRequest, request_id: str) -> Answer:
        if request.method == "OPTIONS":
            return PREFLIGHT
        try:
            return await self._serve(door, request, request_id)
        except MatrixError as error:
            return error_response(error)
        except ClientGone:
            raise
        except asyncio.CancelledError:
            # Somebody cancelled this request, or the handler let through that it waited on
            # something that was cancelled; the client is to hear of the latter.
            if is_cancelled():
                raise
            log.exception("Request %s was cut off: %s", request_id, describe(request))
        except Exception:
            log.exception("Request %s failed: %s", request_id, describe(request))
        return internal_error_response(request_id)

    async def _serve(self, door: Door, request: BaseRequest, request_id: str) -> Answer:
        path, _, query_string = request.raw_path.partition("?")
        if not path.startswith("/"):
            path = request.rel_url.raw_path
        endpoint, parameters = door.router.find(request.method, path)
        call = Call(
            services=self._services,
            request=request,
            path=parameters,
            query_string=query_string,
            request_id=request_id,
            remote_address=door.proxies.client_address(
                request.remote or "", forwarded_for(request)
            ),
        )
        if endpoint.access is Access.SERVER:
            await self._admit_server(call, endpoint)
        else:
            await self._admit_client(call, endpoint)
        if endpoint.long_poll:
            return await self._long_poll(call, endpoint)
        try:
            return cast(Answer, await endpoint.handler(call))
        except MatrixError as error:
            if not error.is_attempt:
                self._charge_as_question(call, endpoint)
            raise

    async def _admit_client(self, call: Call, endpoint: Endpoint[Call]) -> None:
        await self._authenticator.admit(call, endpoint)
        if endpoint.rate is not Rate.NONE and not call.is_unlimited:
            self._limiter.check(endpoint.rate, caller_to_limit(call))
        await self._read(call, endpoint)

    def _charge_as_question(self, call: Call, endpoint: Endpoint[Call]) -> None:
        """Have a call that was no attempt cost as much as a read.

        Clients ask once or twice what is wanted before they attempt to register or to change a
        password; a household behind one address would use up its attempts by asking.
        """
        caller = caller_to_limit(call)
        self._limiter.give_back(endpoint.rate, caller)
        self._limiter.check(Rate.REQUEST, caller)

    async def _admit_server(self, call: Call, endpoint: Endpoint[Call]) -> None:
        self._authenticator.check_signed(call)
        await self._read(call, endpoint)
        await self._authenticator.admit_server(call)
        self._limiter.check(endpoint.rate, call.origin)

    async def _read(self, call: Call, endpoint: Endpoint[Call]) -> None:
        if endpoint.method == "GET":
            return
        if endpoint.body is Body.STREAM:
            call.stream = StreamedRequest(call.request, self._settings.body_timeout_s)
            return
        max_bytes, max_integer = endpoint.max_body_bytes, None
        # The operator's limit is for clients: what servers may send each other is no choice.
        if endpoint.body is Body.JSON and endpoint.access is not Access.SERVER:
            max_bytes = min(max_bytes, self._settings.max_body_bytes)
            # More than the database and most of JSON's writers know; only old events have it.
            max_integer = MAX_HANDED_ON
        call.body = await read_body(call.request, max_bytes, self._settings.body_timeout_s)
        if endpoint.body is Body.JSON:
            call.json = parse_object(call.body, endpoint.max_depth, max_integer)

    async def _long_poll(self, call: Call, endpoint: Endpoint[Call]) -> Answer:
        if self._stopping:
            return stopping_response()
        connection = call.request.protocol
        if not connection.connected:
            raise ClientGone
        task = cast(asyncio.Task[Any], asyncio.current_task())
        self._long_polls[connection] = task
        try:
            return cast(Answer, await endpoint.handler(call))
        except asyncio.CancelledError:
            # Still registered and stopping: cancelled by `drain`, and the client is there.
            if self._stopping and connection in self._long_polls:
                return stopping_response()
            raise
        finally:
            self._long_polls.pop(connection, None)

    async def _render(
        self, manners: Manners, request: BaseRequest, request_id: str, answer: Answer
    ) -> Reply:
        response = answer if isinstance(answer, Response) else Response(200, answer)
        try:
            return await self._build_reply(manners, request, response)
        except MatrixError as error:
            return await self._build_reply(manners, request, error_response(error))
        except OSError:
            log.exception("Answer to request %s cannot be read: %s", request_id, describe(request))
            return await self._build_reply(manners, request, internal_error_response(request_id))
        except (TypeError, ValueError):
            # A value that is no JSON, or a header that would not stay one.
            log.exception("Answer to request %s is broken: %s", request_id, describe(request))
            return await self._build_reply(manners, request, internal_error_response(request_id))

    async def _build_reply(
        self, manners: Manners, request: BaseRequest, response: Response
    ) -> Reply:
        for_browsers = manners.always_for_browsers or "Origin" in request.headers
        if isinstance(response.body, StreamedBody):
            return await self._build_streamed_reply(request, response, response.body, for_browsers)
        headers, body = response.headers, encode_json(response.body)
        if manners.gzip_over_bytes is not None:
            is_zipped = len(body) > manners.gzip_over_bytes and accepts_gzip(request)
            if is_zipped:
                body = await compress(body)
            headers = negotiated_headers(headers, is_zipped=is_zipped)
        return Reply(
            response.status,
            build_head(response.status, response.content_type, headers, for_browsers=for_browsers),
            body,
            keep_alive=request.keep_alive and not self._stopping,
            write_timeout_s=self._settings.write_timeout_s,
        )

    async def _build_streamed_reply(
        self, request: BaseRequest, response: Response, body: StreamedBody, for_browsers: bool
    ) -> Reply:
        """The reply with its first chunk read: what cannot be read at all is answered so."""
        first = b"" if request.method == "HEAD" else await anext(body.chunks, b"")
        return StreamedReply(
            response.status,
            build_head(
                response.status,
                response.content_type,
                response.headers,
                for_browsers=for_browsers,
            ),
            body,
            first,
            keep_alive=request.keep_alive and not self._stopping,
            write_timeout_s=self._settings.write_timeout_s,
        )


def accepts_gzip(request: BaseRequest) -> bool:
    """Whether the client can read what is compressed."""
    return "gzip" in request.headers.get("Accept-Encoding", "")


def negotiated_headers(
    headers: Mapping[str, str] | None, *, is_zipped: bool
) -> Mapping[str, str] | None:
    """The headers of an answer that clients get compressed or not; caches must know of it."""
    if not is_zipped and (headers is None or "Cache-Control" not in headers):
        return headers
    told = dict(headers or {})
    told["Vary"] = f"{told['Vary']}, Accept-Encoding" if "Vary" in told else "Accept-Encoding"
    if is_zipped:
        told["Content-Encoding"] = "gzip"
    return told


def apis_of(path: str) -> set[Api]:
    """The APIs that an endpoint belongs to."""
    if path.startswith(COMMON_PREFIXES):
        return {"client", "federation"}
    return {"federation"} if path.startswith(FEDERATION_PREFIXES) else {"client"}


def forwarded_for(request: BaseRequest) -> str | None:
    """All X-Forwarded-For headers as one; some proxies add a line of their own."""
    if X_FORWARDED_FOR not in request.headers:
        return None
    return ",".join(request.headers.getall(X_FORWARDED_FOR))


def caller_to_limit(call: Call) -> str:
    """On whose allowance a client's call draws: the user's, or the address's of nobody."""
    requester = call.requester
    return requester.user_id if requester else address_to_limit(call.remote_address)


def is_cancelled() -> bool:
    """Whether the running task has been asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def log_request(request: BaseRequest, status: int, seconds: float) -> None:
    """One line for each request."""
    log.debug("%s %d %.1f ms %s", describe(request), status, seconds * 1000, request.remote)


def describe(request: BaseRequest) -> str:
    """Method and path for a log line, without the query, which may hold an access token."""
    return f"{request.method} {request.raw_path.partition('?')[0]}"
