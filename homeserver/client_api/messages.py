"""A room's history, page by page.

Source: client-server API, `GET /rooms/{roomId}/messages`.
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import (
    event_array,
    query_point,
    query_room_event_filter,
    viewer_of,
)
from homeserver.http.call import Call
from homeserver.rooms.history import DEFAULT_LIMIT, MAX_LIMIT, MessagesRequest


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/messages", Access.GUEST)
async def get_room_events(call: Call) -> dict[str, Any]:
    """Show a page of the history, backwards or forwards from a token or from the end.

    Forwards is what a missing `dir` means. Errors: `Forbidden`, `InvalidParam`.
    """
    wanted = query_room_event_filter(call)
    request = MessagesRequest(
        backwards=call.query_choice("dir", ("b", "f"), "f") == "b",
        limit=call.query_int("limit", wanted.limit or DEFAULT_LIMIT, maximum=MAX_LIMIT),
        start=query_point(call, "from"),
        stop=query_point(call, "to"),
        wanted=wanted,
    )
    page = await call.services.reading.history.messages(
        viewer_of(call), call.path["roomId"], request
    )
    body: dict[str, Any] = {"start": page.start, "chunk": event_array(page.chunk)}
    if page.end is not None:
        body["end"] = page.end
    if page.state is not None:
        body["state"] = event_array(page.state)
    return body


ENDPOINTS = (get_room_events,)
