"""Media that were uploaded here, for other servers.

An answer has two parts: metadata, of which there are none yet, and the file or where it is.
Source: server-server API, "Content Repository"; RFC 2046, section 5.1.
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from federation.inbound.reading_ports import MediaFiles, ReadingCall, ServedMedia, Thumbnail
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import MissingParam, NotFound
from federation.protocol.response import Response, StreamedBody

DEFAULT_TIMEOUT_MS = 20_000
MAX_TIMEOUT_MS = 60_000
MAX_PIXELS = 10_000
"""Of a thumbnail's width or height."""


@endpoint(
    "GET", "/_matrix/federation/v1/media/download/{mediaId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_content(call: ReadingCall) -> Response:
    """Give a file. Errors: `NotFound`, `NotYetUploaded`."""
    files = files_of(call)
    return build_answer(await files.download(call.path["mediaId"], read_timeout_ms(call)))


@endpoint(
    "GET", "/_matrix/federation/v1/media/thumbnail/{mediaId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_content_thumbnail(call: ReadingCall) -> Response:
    """Give a thumbnail.

    Errors: `NotFound`, `NotYetUploaded`, `Unknown`, `TooLarge`, `LimitExceeded`, `MissingParam`,
    `InvalidParam`.
    """
    width = call.query_int("width", minimum=1, maximum=MAX_PIXELS)
    height = call.query_int("height", minimum=1, maximum=MAX_PIXELS)
    if width is None or height is None:
        raise MissingParam("'width' and 'height' are required")
    wanted = Thumbnail(
        width,
        height,
        method=call.query_choice("method", ("crop", "scale")) or "scale",
        animated=call.query_bool("animated", default=None),
    )
    files = files_of(call)
    media_id = call.path["mediaId"]
    return build_answer(await files.thumbnail(media_id, wanted, read_timeout_ms(call)))


def files_of(call: ReadingCall) -> MediaFiles:
    """This server's media. Raises `NotFound` for a server without any."""
    files = call.services.answering.media
    if files is None:
        raise NotFound("There are no media here")
    return files


def read_timeout_ms(call: ReadingCall) -> int:
    """How long the caller waits for an upload. Raises `InvalidParam`."""
    timeout_ms = call.query_int("timeout_ms", maximum=MAX_TIMEOUT_MS)
    return DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms


def build_answer(media: ServedMedia) -> Response:
    """The answer of two parts."""
    # A boundary must not occur in the parts; nobody can have put a random one there.
    boundary = secrets.token_hex(16)
    if media.body is None:
        headers = [f"Location: {media.location}"]
    else:
        headers = [f"Content-Type: {media.content_type}"]
        if media.content_disposition is not None:
            headers.append(f"Content-Disposition: {media.content_disposition}")
    lines = (
        f"--{boundary}",
        "Content-Type: application/json",
        "",
        "{}",
        f"--{boundary}",
        *headers,
        "",
        "",
    )
    head, end = "\r\n".join(lines).encode(), f"\r\n--{boundary}--\r\n".encode()
    body = head + end if media.body is None else enclose(head, media.body, end)
    return Response(200, body, content_type=f"multipart/mixed; boundary={boundary}")


def enclose(head: bytes, body: StreamedBody, end: bytes) -> StreamedBody:
    """A body with something before and behind it."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(body.chunks) as inner:
            # Not before there is something behind it: a file that cannot be read is no answer.
            yield head + await anext(inner, b"")
            async for chunk in inner:
                yield chunk
        yield end

    return StreamedBody(len(head) + body.length + len(end), chunks())


ENDPOINTS = (get_content, get_content_thumbnail)
