"""Reading and setting the state of rooms.

Source: client-server API, "Getting events for a room", "Sending events to a room".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.event_rendering import dump_event
from federation.protocol.identifiers import RoomId
from federation.protocol.pdu import StateKey
from homeserver.client_api.chosen_time import chosen_time
from homeserver.client_api.delayed_events import schedule_by_query
from homeserver.client_api.reading import viewer_of
from homeserver.client_api.stickiness import chosen_stickiness
from homeserver.http.call import Call
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.rooms.membership import Joiner

FORMATS = ("content", "event")


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/state", Access.GUEST)
async def get_room_state(call: Call) -> bytes:
    """Show the whole state. Errors: `Forbidden`."""
    viewer = viewer_of(call)
    events = await call.services.rooms.state.whole(viewer, call.path["roomId"])
    rendered = await call.services.clients.render(
        [SeenEvent(event, "join") for event in events],
        viewer,
        with_room_id=True,
        with_bundles=False,
    )
    return b"[%b]" % b",".join(rendered)


@endpoint(
    "GET",
    "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
    Access.GUEST,
    aliases=("/_matrix/client/v3/rooms/{roomId}/state/{eventType}",),
)
async def get_room_state_with_key(call: Call) -> bytes:
    """Show a state event, or its content only. Errors: `Forbidden`, `NotFound`."""
    as_event = call.query_choice("format", FORMATS, "content") == "event"
    viewer = viewer_of(call)
    event = await call.services.rooms.state.get(viewer, call.path["roomId"], place_of(call))
    if not as_event:
        return dump_event(event.content)
    seen = [SeenEvent(event, "join")]
    return (
        await call.services.clients.render(seen, viewer, with_room_id=True, with_bundles=False)
    )[0]


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
    Access.GUEST,
    rate=Rate.MESSAGE,
    suspended_allowed=False,
    aliases=("/_matrix/client/v3/rooms/{roomId}/state/{eventType}",),
)
async def set_room_state_with_key(call: Call) -> Mapping[str, Any]:
    """Set a part of the state, or schedule that; saying the same again answers what stands.

    Errors: `Forbidden`, `NotFound`, `InvalidParam`, `BadAlias`, `InviteBlocked`, `TooLarge`; those
    of `schedule_by_query`.
    """
    scheduled = await schedule_by_query(call, place_of(call)[1])
    if scheduled is not None:
        return scheduled
    event_id = await call.services.rooms.events.send_state(
        Joiner(call.user_id, is_guest=call.is_guest),
        RoomId(call.path["roomId"]),
        *place_of(call),
        call.json,
        origin_server_ts=chosen_time(call),
        sticky_ms=chosen_stickiness(call),
    )
    return {"event_id": event_id}


def place_of(call: Call) -> StateKey:
    """The place in the state that a path names; without a state key the empty one."""
    return (call.path["eventType"], call.path.get("stateKey", ""))


ENDPOINTS = (get_room_state, get_room_state_with_key, set_room_state_with_key)
