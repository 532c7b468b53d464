"""Sending message events.

Source: client-server API, "Sending events to a room".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import RoomId
from homeserver.client_api.chosen_time import chosen_time
from homeserver.client_api.delayed_events import schedule_by_query
from homeserver.client_api.stickiness import chosen_stickiness
from homeserver.http.call import Call
from homeserver.rooms.send import transaction_of


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}",
    Access.GUEST,
    rate=Rate.MESSAGE,
    suspended_allowed=False,
)
async def send_message(call: Call) -> Mapping[str, Any]:
    """Send a message event, or schedule it; the same `txnId` again answers the first event.

    Errors: `Forbidden`, `NotFound`, `TooLarge`, `DuplicateAnnotation`; those of
    `schedule_by_query`.
    """
    scheduled = await schedule_by_query(call, None)
    if scheduled is not None:
        return scheduled
    room_id, event_type = RoomId(call.path["roomId"]), call.path["eventType"]
    scope = (str(call.user_nid), "send", room_id, event_type)
    transaction = transaction_of(call.device_nid, scope, call.path["txnId"])
    event_id = await call.services.rooms.events.send_message(
        call.user_id,
        room_id,
        event_type,
        call.json,
        transaction,
        is_admin=call.is_admin,
        origin_server_ts=chosen_time(call),
        sticky_ms=chosen_stickiness(call),
    )
    return {"event_id": event_id}


ENDPOINTS = (send_message,)
