"""Single events, and the stream of events that peeking clients follow.

Source: client-server API, `GET /rooms/{roomId}/event/{eventId}`, `GET /events/{eventId}`,
`GET /rooms/{roomId}/timestamp_to_event`, "Room previews".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import InvalidParam
from homeserver.client_api.reading import event_array, query_point, viewer_of
from homeserver.http.call import Call
from homeserver.rooms.history_token import Received

DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 120_000


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/event/{eventId}", Access.GUEST)
async def get_one_room_event(call: Call) -> bytes:
    """Show an event of a room. Errors: `NotFound`."""
    return await call.services.reading.history.event(
        viewer_of(call), call.path["roomId"], call.path["eventId"]
    )


@endpoint("GET", "/_matrix/client/v3/events/{eventId}", Access.USER)
async def get_one_event(call: Call) -> bytes:
    """Show an event of whatever room. Errors: `NotFound`."""
    return await call.services.reading.history.event(viewer_of(call), None, call.path["eventId"])


@endpoint(
    "GET",
    "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
    Access.USER,
    aliases=("/_matrix/client/unstable/org.matrix.msc3030/rooms/{roomId}/timestamp_to_event",),
)
async def get_event_by_timestamp(call: Call) -> dict[str, Any]:
    """Name the event closest to a time. Errors: `Forbidden`, `NotFound`, `InvalidParam`."""
    call.query_str("ts")
    event = await call.services.reading.timestamps.find(
        viewer_of(call),
        call.path["roomId"],
        call.query_int("ts", 0),
        backwards=call.query_choice("dir", ("f", "b"), "f") == "b",
    )
    return {
        "event_id": event.event_id,
        "origin_server_ts": event.fields["origin_server_ts"],
    }


@endpoint("GET", "/_matrix/client/v3/events", Access.GUEST, long_poll=True)
async def peek_events(call: Call) -> dict[str, Any]:
    """Wait for events of a room that the caller may read, or of all that they are in.

    Errors: `Forbidden`, `InvalidParam`.
    """
    start = query_point(call, "from")
    if start is not None and not isinstance(start, Received):
        raise InvalidParam("'from' is not a token of /events or /initialSync")
    timeout_ms = call.query_int("timeout", DEFAULT_TIMEOUT_MS, maximum=MAX_TIMEOUT_MS)
    news = await call.services.reading.peeking.wait(
        viewer_of(call), call.query_optional_str("room_id"), start, timeout_ms / 1000
    )
    return {"start": news.start, "end": news.end, "chunk": event_array(news.chunk)}


ENDPOINTS = (get_one_room_event, get_one_event, get_event_by_timestamp, peek_events)
