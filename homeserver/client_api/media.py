"""The content repository: uploading files, and getting them.

Source: client-server API, "Content repository".
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from federation.inbound.media_parameters import read_timeout_ms, read_wanted
from federation.inbound.reading_ports import Thumbnail
from federation.protocol.content_disposition import (
    build_content_disposition,
    clean_name,
    clean_type,
)
from federation.protocol.endpoint import Access, Body, Rate, endpoint
from federation.protocol.errors import NotFound
from federation.protocol.response import Response
from homeserver.http.call import Call
from homeserver.http.partial_content import File, build_file_response
from homeserver.media.library import Found
from homeserver.media.uploads import Label
from storage.media_contents import Content

CLIENT = "/_matrix/client/v1/media"
LEGACY = "/_matrix/media/v3"
OLDEST = "/_matrix/media/v1"

HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
        "style-src 'unsafe-inline'; object-src 'self';"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
CACHING = "max-age=86400, immutable"
"""A URI never leads to something else; a day, so that quarantine does not come for nothing."""


@endpoint(
    "POST",
    f"{LEGACY}/upload",
    Access.USER,
    rate=Rate.UPLOAD,
    suspended_allowed=False,
    aliases=(f"{OLDEST}/upload",),
    body=Body.STREAM,
)
async def upload_content(call: Call) -> Mapping[str, Any]:
    """Upload a file.

    Errors: `TooLarge`, `UserLimitExceeded`, `LimitExceeded`, `Forbidden`.
    """
    uri = await call.services.media.uploads.upload(call.user_nid, call.stream, read_label(call))
    return {"content_uri": uri}


@endpoint("POST", f"{OLDEST}/create", Access.USER, rate=Rate.UPLOAD, suspended_allowed=False)
async def create_content(call: Call) -> Mapping[str, Any]:
    """Reserve a URI. Errors: `LimitExceeded`."""
    reserved = await call.services.media.uploads.reserve(call.user_nid)
    return {"content_uri": reserved.uri, "unused_expires_at": reserved.expires_ts}


@endpoint(
    "PUT",
    f"{LEGACY}/upload/{{serverName}}/{{mediaId}}",
    Access.USER,
    rate=Rate.UPLOAD,
    suspended_allowed=False,
    body=Body.STREAM,
)
async def upload_content_to_mxc(call: Call) -> Mapping[str, Any]:
    """Upload the file of a reserved URI.

    Errors: `NotFound`, `Forbidden`, `CannotOverwriteMedia`, and those of `upload_content`.
    """
    server_name, media_id = call.path["serverName"], call.path["mediaId"]
    uploads = call.services.media.uploads
    await uploads.fill(call.user_nid, server_name, media_id, call.stream, read_label(call))
    return {}


@endpoint(
    "GET",
    f"{CLIENT}/config",
    Access.GUEST,
    rate=Rate.REQUEST,
    aliases=(f"{LEGACY}/config", f"{OLDEST}/config"),
)
async def get_config(call: Call) -> Mapping[str, Any]:
    """Say how large a file may be."""
    return {"m.upload.size": call.services.media.uploads.max_bytes}


@endpoint(
    "GET",
    f"{CLIENT}/download/{{serverName}}/{{mediaId}}",
    Access.GUEST,
    rate=Rate.REQUEST,
    aliases=(f"{CLIENT}/download/{{serverName}}/{{mediaId}}/{{fileName}}",),
)
async def get_content_authed(call: Call) -> Response:
    """Give a file. Errors: `NotFound`, `NotYetUploaded`, `RemoteTooLarge`."""
    return answer_file(call, await find(call), "private")


@endpoint(
    "GET",
    f"{LEGACY}/download/{{serverName}}/{{mediaId}}",
    Access.PUBLIC,
    rate=Rate.REQUEST,
    aliases=(
        f"{LEGACY}/download/{{serverName}}/{{mediaId}}/{{fileName}}",
        f"{OLDEST}/download/{{serverName}}/{{mediaId}}",
        f"{OLDEST}/download/{{serverName}}/{{mediaId}}/{{fileName}}",
    ),
)
async def get_content(call: Call) -> Response:
    """Give a file to anybody, if it is not frozen. Errors: as `get_content_authed`."""
    return answer_file(call, await find_unfrozen(call), "public")


@endpoint("GET", f"{CLIENT}/thumbnail/{{serverName}}/{{mediaId}}", Access.GUEST, rate=Rate.REQUEST)
async def get_content_thumbnail_authed(call: Call) -> Response:
    """Give a smaller picture.

    Errors: `NotFound`, `NotYetUploaded`, `RemoteTooLarge`, `NoThumbnail`, `TooLarge`,
    `LimitExceeded`, `MissingParam`, `InvalidParam`.
    """
    wanted = read_wanted(call)
    return await answer_thumbnail(call, await find(call), wanted, "private")


@endpoint(
    "GET",
    f"{LEGACY}/thumbnail/{{serverName}}/{{mediaId}}",
    Access.PUBLIC,
    rate=Rate.REQUEST,
    aliases=(f"{OLDEST}/thumbnail/{{serverName}}/{{mediaId}}",),
)
async def get_content_thumbnail(call: Call) -> Response:
    """Give a smaller picture to anybody, if it is not frozen."""
    wanted = read_wanted(call)
    return await answer_thumbnail(call, await find_unfrozen(call), wanted, "public")


def read_label(call: Call) -> Label:
    """What the client calls the file that it uploads."""
    return Label(
        clean_type(call.headers.get("Content-Type")),
        clean_name(call.query_optional_str("filename")),
    )


async def find(call: Call, *, allow_remote: bool = True) -> Found:
    """The media that the path names. Raises `NotFound`, `NotYetUploaded`, `RemoteTooLarge`."""
    server_name, media_id = call.path["serverName"], call.path["mediaId"]
    timeout_ms = read_timeout_ms(call)
    library = call.services.media.library
    return await library.find(server_name, media_id, timeout_ms, allow_remote=allow_remote)


async def find_unfrozen(call: Call) -> Found:
    """As `find`, for callers without a token. Raises `NotFound` for what they are not given.

    Under the freeze nothing is fetched for them: it would be frozen when it came.
    """
    is_frozen = call.services.settings.media.freeze_unauthenticated
    allow_remote = call.query_bool("allow_remote", default=True) and not is_frozen
    found = await find(call, allow_remote=allow_remote)
    if found.media.needs_token and is_frozen:
        raise NotFound("These media are only given to clients that are logged in")
    return found


def answer_file(call: Call, found: Found, audience: str) -> Response:
    """The answer with a file."""
    media = found.media
    name = clean_name(call.path.get("fileName")) or media.upload_name
    disposition = build_content_disposition(media.content_type, name)
    return answer_content(call, found.content, media.content_type, disposition, audience)


async def answer_thumbnail(call: Call, found: Found, wanted: Thumbnail, audience: str) -> Response:
    """The answer with a thumbnail."""
    made = await call.services.media.thumbnails.get(found, wanted)
    kind = made.content_type.partition("/")[2]
    disposition = f"inline; filename=thumbnail.{kind}"
    return answer_content(call, made.content, made.content_type, disposition, audience)


def answer_content(
    call: Call, content: Content, content_type: str, disposition: str, audience: str
) -> Response:
    """The answer with a content, under a type and with a name."""
    contents = call.services.media.contents
    headers = {
        **HEADERS,
        "Content-Disposition": disposition,
        "Cache-Control": f"{audience}, {CACHING}",
    }
    etag = f'"{urlsafe_b64encode(content.sha256).rstrip(b"=").decode()}"'
    return build_file_response(
        call.headers,
        File(
            content.size,
            etag,
            content_type,
            headers,
            lambda start, length: contents.read(content, start, length),
        ),
    )


ENDPOINTS = (
    upload_content,
    create_content,
    upload_content_to_mxc,
    get_config,
    get_content_authed,
    get_content,
    get_content_thumbnail_authed,
    get_content_thumbnail,
)
