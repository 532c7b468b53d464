"""Showing what a URL leads to.

Source: client-server API, "Content repository", GET /media/preview_url.
"""

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call


@endpoint(
    "GET",
    "/_matrix/client/v1/media/preview_url",
    Access.USER,
    rate=Rate.PREVIEW,
    aliases=("/_matrix/media/v3/preview_url", "/_matrix/media/v1/preview_url"),
)
async def get_url_preview(call: Call) -> bytes:
    """Give a preview.

    Errors: `Forbidden`, `InvalidParam`, `MissingParam`, `PreviewFailed`, `PreviewTimedOut`,
    `LimitExceeded`.
    """
    url, ts = call.query_str("url"), call.query_int("ts")
    return await call.services.media.previews.get(url, ts)


ENDPOINTS = (get_url_preview,)
