"""Media that were uploaded here, for other servers.

An answer has two parts: metadata, of which there are none yet, and the file or where it is.
Source: server-server API, "Content Repository"; RFC 2046, section 5.1.
"""

import secrets

from federation.inbound.reading_ports import MediaFiles, ReadingCall, ServedMedia, Thumbnail
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import MissingParam, NotFound
from federation.protocol.response import Response

DEFAULT_TIMEOUT_MS = 20_000
MAX_TIMEOUT_MS = 60_000
MAX_PIXELS = 10_000
"""Of a thumbnail's width or height."""


@endpoint(
    "GET", "/_matrix/federation/v1/media/download/{mediaId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_content(call: ReadingCall) -> Response:
    """Give a file. Errors: `NotFound`."""
    files = files_of(call)
    return build_answer(await files.download(call.path["mediaId"], read_timeout_ms(call)))


@endpoint(
    "GET", "/_matrix/federation/v1/media/thumbnail/{mediaId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_content_thumbnail(call: ReadingCall) -> Response:
    """Give a thumbnail. Errors: `NotFound`, `MissingParam`, `InvalidParam`."""
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
    if media.location is not None:
        headers = [f"Location: {media.location}"]
    else:
        headers = [f"Content-Type: {media.content_type}"]
        if media.content_disposition is not None:
            headers.append(f"Content-Disposition: {media.content_disposition}")
    head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n"
    body = b"".join(
        (
            head.encode(),
            "\r\n".join(headers).encode(),
            b"\r\n\r\n",
            media.body,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    return Response(200, body, content_type=f"multipart/mixed; boundary={boundary}")


ENDPOINTS = (get_content, get_content_thumbnail)
