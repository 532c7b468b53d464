"""Reading a request's body, with a limit and a deadline, and parsing it.

Source: client-server API, "API Standards" and "Common error codes".
"""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, TooLarge, Unknown

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


def parse_object(body: bytes, max_depth: int | None) -> dict[str, Any]:
    """The JSON object in a body; an empty body counts as an empty object.

    The specification demands `{}` of most requests, and clients forget it.
    Raises `NotJson`, `BadJson`.
    """
    if not body:
        return {}
    value = canonical_json.decode(body, max_depth)
    if type(value) is not dict:
        raise BadJson("The request body must be a JSON object")
    return value


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
