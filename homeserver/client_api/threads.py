"""The threads of a room.

Source: client-server API, "Querying threads in a room".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import event_array, query_point, viewer_of
from homeserver.http.call import Call
from homeserver.rooms.threads import DEFAULT_LIMIT, MAX_LIMIT


@endpoint(
    "GET",
    "/_matrix/client/v1/rooms/{roomId}/threads",
    Access.USER,
    aliases=("/_matrix/client/unstable/org.matrix.msc3856/rooms/{roomId}/threads",),
)
async def get_thread_roots(call: Call) -> dict[str, Any]:
    """List the roots of a room's threads. Errors: `Forbidden`, `InvalidParam`."""
    page = await call.services.reading.threads.page(
        viewer_of(call),
        call.path["roomId"],
        participated=call.query_choice("include", ("all", "participated"), "all") != "all",
        start=query_point(call, "from"),
        limit=call.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
    )
    body: dict[str, Any] = {"chunk": event_array(page.chunk)}
    if page.next_batch is not None:
        body["next_batch"] = page.next_batch
    return body


ENDPOINTS = (get_thread_roots,)
