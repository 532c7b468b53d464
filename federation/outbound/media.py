"""Fetching media from the server that they are of.

By the endpoint for servers, which wants a signature; a server that does not know it is asked by
the old endpoint for everybody, which must not send us on to a third one.
Source: server-server API, "Content Repository".
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from federation.outbound.client import (
    FederationClient,
    Query,
    Streamed,
    build_path,
    read_chunks,
    translated,
)
from federation.outbound.connections import CONNECT_TIMEOUT_S, Connections
from federation.outbound.errors import BadAnswer, Refused
from federation.outbound.multipart import PartReader
from federation.protocol.errors import Unrecognized
from federation.protocol.identifiers import ServerName

PATIENCE_S = 30.0
"""How long a server may take to answer, beyond the time that it is told to wait for an upload."""
MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class FarMedia:
    """A file that is arriving; None where its server does not tell."""

    content_type: str | None
    content_disposition: str | None
    length: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a file is to be had."""

    location: str


class MediaFetch:
    """Fetches files."""

    __slots__ = ("_client", "_connections")

    def __init__(self, client: FederationClient, connections: Connections) -> None:
        self._client = client
        self._connections = connections

    @asynccontextmanager
    async def download(
        self, origin: ServerName, media_id: str, timeout_ms: int
    ) -> AsyncIterator[FarMedia]:
        """A file, while the context lasts. Raises `FederationError`, also out of `chunks`."""
        async with AsyncExitStack() as stack:
            yield await self._open(stack, origin, media_id, timeout_ms)

    async def _open(
        self, stack: AsyncExitStack, origin: ServerName, media_id: str, timeout_ms: int
    ) -> FarMedia:
        try:
            answer = await stack.enter_async_context(self._ask(origin, media_id, timeout_ms))
        except Refused as error:
            if not is_unknown_endpoint(error):
                raise
            old = self._ask_as_anybody(origin, media_id, timeout_ms)
            return await stack.enter_async_context(old)
        if isinstance(answer, FarMedia):
            return answer
        await stack.aclose()
        return await stack.enter_async_context(self._follow(origin, answer.location))

    @asynccontextmanager
    async def _ask(
        self, origin: ServerName, media_id: str, timeout_ms: int
    ) -> AsyncIterator[FarMedia | Elsewhere]:
        path = build_path("federation", "v1", "media", "download", media_id)
        query: Query = {"timeout_ms": timeout_ms}
        timeout_s = timeout_ms / 1000 + PATIENCE_S
        async with self._client.stream(origin, path, query=query, timeout_s=timeout_s) as streamed:
            content_type = streamed.headers.get("Content-Type", "")
            parts = PartReader(streamed.chunks, content_type, origin)
            await parts.skip()
            await parts.head()
            await parts.skip()
            headers = await parts.head()
            if "location" in headers:
                yield Elsewhere(headers["location"])
            else:
                yield FarMedia(
                    headers.get("content-type"),
                    headers.get("content-disposition"),
                    None,
                    parts.body(),
                )

    @asynccontextmanager
    async def _ask_as_anybody(
        self, origin: ServerName, media_id: str, timeout_ms: int
    ) -> AsyncIterator[FarMedia]:
        path = build_path("media", "v3", "download", origin, media_id)
        query: Query = {"allow_remote": False, "timeout_ms": timeout_ms}
        timeout_s = timeout_ms / 1000 + PATIENCE_S
        async with self._client.stream(origin, path, query=query, timeout_s=timeout_s) as streamed:
            yield media_of(streamed)

    @asynccontextmanager
    async def _follow(self, origin: ServerName, location: str) -> AsyncIterator[FarMedia]:
        """What is at a URL that a server has named; asked for without a signature."""
        if not location.startswith(("https://", "http://")):
            raise BadAnswer(origin, "it names no URL where the media are")
        with translated(origin):
            response = await self._connections.session().get(
                location,
                max_redirects=MAX_REDIRECTS,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=PATIENCE_S),
            )
        async with response:
            if response.status != HTTPStatus.OK:
                raise BadAnswer(origin, f"the media are not where it says: {response.status}")
            chunks = read_chunks(response, origin)
            yield media_of(Streamed(response.status, response.headers, chunks))


def media_of(streamed: Streamed) -> FarMedia:
    """A file that comes as the body of an answer."""
    length = streamed.headers.get("Content-Length", "")
    return FarMedia(
        streamed.headers.get("Content-Type"),
        streamed.headers.get("Content-Disposition"),
        int(length) if length.isdecimal() and "Content-Encoding" not in streamed.headers else None,
        streamed.chunks,
    )


def is_unknown_endpoint(error: Refused) -> bool:
    """Whether a server does not know the endpoint.

    Something that answers without any Matrix error code, a proxy in front of an old server perhaps,
    does not know it either.
    """
    if error.answer_errcode == Unrecognized.errcode:
        return True
    return error.answer_errcode is None and error.answer_status in (400, 404, 405)
