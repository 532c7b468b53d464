"""Reading a request's body, with a limit and a deadline, and parsing it.

Source: client-server API, "API Standards" and "Common error codes".
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_request import BaseRequest

from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, TooLarge, Unknown

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LEAST_BYTES_PER_S = 512
"""A streamed body that comes more slowly in the long run is given up: a worn-out radio link is
faster, and somebody who keeps connections busy on purpose gains nothing by going on."""


class ClientGone(ConnectionError):
    """The client hung up before its request was complete; nobody waits for an answer."""


class SlowBody(Unknown):
    """The body did not arrive in time."""

    status = 408


async def read_body(request: BaseRequest, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body, decompressed where it says that it is compressed.

    Raises `TooLarge`, `SlowBody`, `Unknown` (broken transfer or content encoding), `ClientGone`.
    """
    check_length(request, max_bytes)
    content = request.content
    with translated():
        if content.is_eof():
            # Nearly always: the body came with the headers.
            body = content.read_nowait()
        else:
            async with asyncio.timeout(timeout_s):
                return await _receive(request, max_bytes)
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    return body


class StreamedRequest:
    """A body that is read as it arrives, decompressed where it says that it is compressed."""

    __slots__ = ("_patience_s", "_request")

    def __init__(self, request: BaseRequest, patience_s: float) -> None:
        self._request = request
        self._patience_s = patience_s

    @property
    def length(self) -> int | None:
        """How many bytes the client says that it sends; None if it does not say."""
        return self._request.content_length

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, piece by piece; each may take `patience_s`, all of it `LEAST_BYTES_PER_S`.

        Raises `TooLarge`, `SlowBody`, `Unknown` (broken transfer or content encoding),
        `ClientGone`.
        """
        request, content = self._request, self._request.content
        check_length(request, max_bytes)
        now_s = asyncio.get_running_loop().time
        started_s, received = now_s(), 0
        with translated():
            if not content.is_eof():
                _continue(request)
            while not content.at_eof():
                latest_s = started_s + self._patience_s + received / LEAST_BYTES_PER_S
                async with asyncio.timeout_at(min(latest_s, now_s() + self._patience_s)):
                    chunk = await content.readany()
                received += len(chunk)
                if received > max_bytes:
                    raise too_large(max_bytes)
                if chunk:
                    yield chunk


def check_length(request: BaseRequest, max_bytes: int) -> None:
    """Refuse a body that is announced to be too large. Raises `TooLarge`."""
    length = request.content_length
    if length is not None and length > max_bytes:
        raise too_large(max_bytes)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what receiving a body raises into `SlowBody`, `ClientGone` or `Unknown`."""
    try:
        yield
    except TimeoutError as error:
        raise SlowBody("The request body did not arrive in time") from error
    except ConnectionError as error:
        raise ClientGone from error
    except (RequestPayloadError, HttpProcessingError) as error:
        raise Unknown("The request body is not encoded as its headers say") from error


def parse_object(
    body: bytes, max_depth: int | None, max_integer: int | None = None
) -> dict[str, Any]:
    """The JSON object in a body; an empty body counts as an empty object.

    The specification demands `{}` of most requests, and clients forget it.
    Raises `NotJson`, `BadJson`.
    """
    if not body:
        return {}
    value = canonical_json.decode(body, max_depth, max_integer)
    if type(value) is not dict:
        raise BadJson("The request body must be a JSON object")
    return value


def too_large(max_bytes: int) -> TooLarge:
    """The error for a body above its limit."""
    return TooLarge(f"The request body is larger than {max_bytes} bytes")


async def _receive(request: BaseRequest, max_bytes: int) -> bytes:
    _continue(request)
    content = request.content
    body = bytearray()
    while not content.at_eof():
        body += await content.readany()
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return bytes(body)


def _continue(request: BaseRequest) -> None:
    """Tell a client that waits for it to send the body."""
    transport = request.transport
    if request.headers.get("Expect", "").lower() == "100-continue" and transport is not None:
        transport.write(CONTINUE)
