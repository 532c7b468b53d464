"""What requests for media ask for, the same of clients and of servers.

Source: client-server API and server-server API, "Content repository".
"""

from federation.inbound.reading_ports import QueryParameters, Thumbnail
from federation.protocol.errors import MissingParam

DEFAULT_TIMEOUT_MS = 20_000
MAX_TIMEOUT_MS = 60_000
MAX_PIXELS = 10_000
"""Of a thumbnail's width or height."""


def read_wanted(query: QueryParameters) -> Thumbnail:
    """The thumbnail that is asked for. Raises `MissingParam`, `InvalidParam`."""
    width = query.query_int("width", minimum=1, maximum=MAX_PIXELS)
    height = query.query_int("height", minimum=1, maximum=MAX_PIXELS)
    if width is None or height is None:
        raise MissingParam("'width' and 'height' are required")
    return Thumbnail(
        width,
        height,
        method=query.query_choice("method", ("crop", "scale")) or "scale",
        animated=query.query_bool("animated", default=None),
    )


def read_timeout_ms(query: QueryParameters) -> int:
    """How long the caller waits for an upload. Raises `InvalidParam`."""
    timeout_ms = query.query_int("timeout_ms", maximum=MAX_TIMEOUT_MS)
    return DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
