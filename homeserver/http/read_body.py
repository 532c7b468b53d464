"""Reading a request's body, with a limit and a deadline, and parsing it.

Source: client-server API, "API Standards" and "Common error codes".
"""

import asyncio
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from federation.protocol.errors import BadJson, NotJson, TooLarge, Unknown

MAX_DEPTH = 100
"""Deeper nesting is refused: whatever walks over a value recurses at most so often."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGone(ConnectionError):
    """The client hung up before its request was complete; nobody waits for an answer."""


class SlowBody(Unknown):
    """The body did not arrive in time."""

    status = 408


async def read_body(request: web.BaseRequest, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body, decompressed where it says that it is compressed.

    Raises `TooLarge`, `SlowBody`, `Unknown` (broken transfer or content encoding), `ClientGone`.
    """
    length = request.content_length
    if length is not None and length > max_bytes:
        raise too_large(max_bytes)
    content = request.content
    try:
        if content.is_eof():
            # Nearly always: the body came with the headers.
            body = content.read_nowait()
        else:
            async with asyncio.timeout(timeout_s):
                return await _receive(request, max_bytes)
    except TimeoutError as error:
        raise SlowBody("The request body did not arrive in time") from error
    except ConnectionError as error:
        raise ClientGone from error
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise Unknown("The request body is not encoded as its headers say") from error
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    return body


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body counts as an empty object.

    The specification demands `{}` of most requests, and clients forget it.
    Raises `NotJson`, `BadJson`.
    """
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson("The request body is not JSON") from error
    if type(value) is not dict:
        raise BadJson("The request body must be a JSON object")
    # A value cannot be deeper than it has brackets, and counting them is a hundred times faster.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and is_deep(value):
        raise BadJson("The request body is nested too deeply")
    return value


def is_deep(value: object) -> bool:
    """Whether objects and arrays are nested more than `MAX_DEPTH` levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for container in level for child in containers_in(container)]
        if not level:
            return False
    return True


def containers_in(container: object) -> list[object]:
    """The objects and arrays directly inside an object or array."""
    if isinstance(container, dict):
        return [value for value in container.values() if isinstance(value, dict | list)]
    if isinstance(container, list):
        return [value for value in container if isinstance(value, dict | list)]
    return []


def too_large(max_bytes: int) -> TooLarge:
    """The error for a body above its limit."""
    return TooLarge(f"The request body is larger than {max_bytes} bytes")


async def _receive(request: web.BaseRequest, max_bytes: int) -> bytes:
    transport = request.transport
    if request.headers.get("Expect", "").lower() == "100-continue" and transport is not None:
        transport.write(CONTINUE)
    content = request.content
    body = bytearray()
    while not content.at_eof():
        body += await content.readany()
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return bytes(body)
