"""An event with what happened around it.

Source: client-server API, "Event Context".
"""

from typing import Any

import orjson

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import event_array, query_room_event_filter, viewer_of
from homeserver.http.call import Call
from homeserver.rooms.history import DEFAULT_LIMIT, MAX_LIMIT


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/context/{eventId}", Access.GUEST)
async def get_event_context(call: Call) -> dict[str, Any]:
    """Show an event, its neighbours and the state at the last of them.

    Errors: `Forbidden`, `NotFound`, `InvalidParam`.
    """
    wanted = query_room_event_filter(call)
    context = await call.services.reading.history.context(
        viewer_of(call),
        call.path["roomId"],
        call.path["eventId"],
        call.query_int("limit", wanted.limit or DEFAULT_LIMIT, maximum=MAX_LIMIT),
        wanted,
    )
    return {
        "start": context.start,
        "end": context.end,
        "events_before": event_array(context.before),
        "event": orjson.Fragment(context.event),
        "events_after": event_array(context.after),
        "state": event_array(context.state),
    }


ENDPOINTS = (get_event_context,)
