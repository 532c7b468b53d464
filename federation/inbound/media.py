"""Media that were uploaded here, for other servers.

An answer has two parts: metadata, of which there are none yet, and the file or where it is.
Source: server-server API, "Content Repository"; RFC 2046, section 5.1.
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from federation.inbound.media_parameters import read_timeout_ms, read_wanted
from federation.inbound.reading_ports import MediaFiles, ReadingCall, ServedMedia
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import NotFound
from federation.protocol.response import Response, StreamedBody


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
    wanted = read_wanted(call)
    files = files_of(call)
    media_id = call.path["mediaId"]
    return build_answer(await files.thumbnail(media_id, wanted, read_timeout_ms(call)))


def files_of(call: ReadingCall) -> MediaFiles:
    """This server's media. Raises `NotFound` for a server without any."""
    files = call.services.answering.media
    if files is None:
        raise NotFound("There are no media here")
    return files


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
