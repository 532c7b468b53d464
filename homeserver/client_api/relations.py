"""The events that relate to an event.

Source: client-server API, "Relationships API".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import event_array, query_point, viewer_of
from homeserver.http.call import Call
from homeserver.rooms.child_events import DEFAULT_LIMIT, MAX_LIMIT, ChildrenRequest

PATH = "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}"


@endpoint("GET", PATH, Access.USER)
async def get_relating_events(call: Call) -> dict[str, Any]:
    """Show a page of an event's children. Errors: `NotFound`, `InvalidParam`."""
    return await children_page(call, None, None)


@endpoint("GET", PATH + "/{relType}", Access.USER)
async def get_relating_events_with_rel_type(call: Call) -> dict[str, Any]:
    """Show a page of an event's children of one relation. Errors as above."""
    return await children_page(call, call.path["relType"], None)


@endpoint("GET", PATH + "/{relType}/{eventType}", Access.USER)
async def get_relating_events_with_rel_type_and_event_type(call: Call) -> dict[str, Any]:
    """Show a page of an event's children of one relation and one type. Errors as above."""
    return await children_page(call, call.path["relType"], call.path["eventType"])


async def children_page(call: Call, rel_type: str | None, event_type: str | None) -> dict[str, Any]:
    """The page that a request asks for. Raises `NotFound`, `InvalidParam`."""
    recurse = call.query_bool("recurse", default=None)
    request = ChildrenRequest(
        room_id=call.path["roomId"],
        event_id=call.path["eventId"],
        rel_type=rel_type,
        event_type=event_type,
        backwards=call.query_choice("dir", ("b", "f"), "b") == "b",
        limit=call.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
        start=query_point(call, "from"),
        stop=query_point(call, "to"),
        recurse=recurse or False,
    )
    page = await call.services.reading.children.page(viewer_of(call), request)
    body: dict[str, Any] = {"chunk": event_array(page.chunk)}
    if page.next_batch is not None:
        body["next_batch"] = page.next_batch
    if request.start is not None:
        body["prev_batch"] = str(request.start)
    if recurse is not None:
        body["recursion_depth"] = page.recursion_depth
    return body


ENDPOINTS = (
    get_relating_events,
    get_relating_events_with_rel_type,
    get_relating_events_with_rel_type_and_event_type,
)
