"""What goes over the wire in answer to a request.

aiohttp's own `web.Response` costs twelve microseconds of an answer's thirty, for headers that are
the same in every one of ours. `Reply` offers what aiohttp's server uses of a response (`prepare`,
`write_eof`, `keep_alive`) and writes the bytes itself.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp.http import HttpVersion11
from aiohttp.web_request import BaseRequest

from federation.protocol.errors import MatrixError
from federation.protocol.response import JSON_TYPE, StreamedBody

log = logging.getLogger("hearth.http")

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}
"""Source: client-server API, "Web Browser Clients"."""

BODILESS = frozenset({204, 304})
SMALL_BODY = 65_536
"""Below it, header and body are copied into one packet."""
GZIP_LEVEL = 6
GZIP_WINDOW = 31
"""zlib's number for its largest window in gzip's format."""
LITTLE_TO_COMPRESS = 16_384
"""Compressing so much takes no longer than handing it to a thread and back, twice."""


class Reply:
    """One answer; `head` ends before the headers that depend on body and connection."""

    __slots__ = ("_body", "_head", "_write_timeout_s", "_writer", "keep_alive", "status")

    def __init__(
        self,
        status: int,
        head: bytes,
        body: bytes,
        *,
        keep_alive: bool,
        write_timeout_s: float,
    ) -> None:
        self.status = status
        self.keep_alive = keep_alive
        self._head = head
        self._body = body
        self._write_timeout_s = write_timeout_s
        self._writer: BaseRequest | None = None

    async def prepare(self, request: BaseRequest) -> None:
        """Send head and body. Raises `ConnectionResetError` when the client is gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client is gone")
        self._writer = request
        body = b"" if request.method == "HEAD" else self._body
        head = b"%b%b%b\r\n" % (self._head, self._length_line(), self._connection_line(request))
        if len(body) < SMALL_BODY:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    async def write_eof(self) -> None:
        """Wait until a client that reads slowly has taken enough.

        Raises `ConnectionResetError` for one that takes too long.
        """
        if self._writer is not None:
            await self._drain(self._writer)

    async def _drain(self, request: BaseRequest) -> None:
        if not request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await request.writer.drain()
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The client does not read") from error

    def _body_length(self) -> int:
        return len(self._body)

    def _length_line(self) -> bytes:
        if self.status in BODILESS:
            return b""
        return b"Content-Length: %d\r\n" % self._body_length()

    def _connection_line(self, request: BaseRequest) -> bytes:
        if request.version >= HttpVersion11:
            return b"" if self.keep_alive else b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.keep_alive else b""


class StreamedReply(Reply):
    """An answer that is sent as it is read, no faster than the client takes it."""

    __slots__ = ("_stream",)

    def __init__(
        self,
        status: int,
        head: bytes,
        stream: StreamedBody,
        first: bytes,
        *,
        keep_alive: bool,
        write_timeout_s: float,
    ) -> None:
        super().__init__(
            status, head, first, keep_alive=keep_alive, write_timeout_s=write_timeout_s
        )
        self._stream = stream

    async def prepare(self, request: BaseRequest) -> None:
        """Send the head and the first chunk. Raises `ConnectionResetError`."""
        try:
            await super().prepare(request)
        except ConnectionResetError:
            await self._stream.chunks.aclose()
            raise

    async def write_eof(self) -> None:
        """Send the rest. Raises `ConnectionResetError`, also where the body cannot be read."""
        request = self._writer
        try:
            if request is not None and request.method != "HEAD":
                await self._send_rest(request)
        except ConnectionResetError:
            raise
        except (MatrixError, OSError, EOFError) as error:
            # The client must not take what it has for the whole: the end of the connection says so.
            log.exception("A file could not be sent to its end")
            if request is not None and request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The answer breaks off") from error
        finally:
            await self._stream.chunks.aclose()

    async def _send_rest(self, request: BaseRequest) -> None:
        sent = len(self._body)
        await self._drain(request)
        async for chunk in self._stream.chunks:
            sent += len(chunk)
            view = memoryview(chunk)
            for start in range(0, len(chunk), SMALL_BODY):
                transport = request.transport
                if transport is None or transport.is_closing():
                    raise ConnectionResetError("The client is gone")
                transport.write(view[start : start + SMALL_BODY])
                await self._drain(request)
        if sent != self._stream.length:
            raise EOFError(f"{sent} bytes instead of {self._stream.length}")

    def _body_length(self) -> int:
        return self._stream.length


def build_head(
    status: int,
    content_type: str = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
    *,
    for_browsers: bool = True,
) -> bytes:
    """Status line and headers, without those that depend on body and connection.

    Raises `ValueError` for a header that would not stay one.
    """
    date = http_date(int(time.time()))
    if headers is None and content_type == JSON_TYPE:
        return _standard_head(status, date, for_browsers)
    return _head(status, _merge_headers(date, content_type, headers or {}, for_browsers))


def encode_json(value: Mapping[str, Any] | Sequence[Any] | bytes) -> bytes:
    """A handler's JSON as bytes; bytes are JSON already."""
    return value if isinstance(value, bytes) else orjson.dumps(value)


async def compress(body: bytes) -> bytes:
    """`body` gzipped; what takes long off the event loop, as zlib lets go of Python's lock."""
    if len(body) <= LITTLE_TO_COMPRESS:
        return zlib.compress(body, GZIP_LEVEL, GZIP_WINDOW)
    return await asyncio.to_thread(zlib.compress, body, GZIP_LEVEL, GZIP_WINDOW)


@lru_cache(maxsize=2)
def http_date(now_s: int) -> str:
    """The time in the form of HTTP's Date header."""
    return formatdate(now_s, usegmt=True)


@lru_cache(maxsize=32)
def _standard_head(status: int, date: str, for_browsers: bool) -> bytes:
    return _head(status, _merge_headers(date, JSON_TYPE, {}, for_browsers))


def _merge_headers(
    date: str, content_type: str, extra: Mapping[str, str], for_browsers: bool
) -> dict[str, str]:
    own_names = {name.lower() for name in extra}
    common = {"Server": "hearth", "Date": date, "Content-Type": content_type}
    if for_browsers:
        common |= CORS_HEADERS
    merged = {name: value for name, value in common.items() if name.lower() not in own_names}
    return merged | dict(extra)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_reason(status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("A response header contains a line break")
    return "\r\n".join([*lines, ""]).encode()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
