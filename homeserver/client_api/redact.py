"""Redacting events.

Source: client-server API, "Redactions".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import EventId, RoomId
from homeserver.http.call import Call
from homeserver.rooms.send import transaction_of


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
    Access.USER,
    rate=Rate.MESSAGE,
)
async def redact_event(call: Call) -> Mapping[str, Any]:
    """Redact an event; the same `txnId` again answers the first redaction.

    Errors: `Forbidden`, `NotFound`.
    """
    room_id, target = RoomId(call.path["roomId"]), EventId(call.path["eventId"])
    scope = (str(call.user_nid), "redact", room_id, target)
    transaction = transaction_of(call.device_nid, scope, call.path["txnId"])
    event_id = await call.services.rooms.events.redact(
        call.user_id,
        room_id,
        target,
        call.json,
        transaction,
        is_admin=call.is_admin,
        is_suspended=call.user.is_suspended,
    )
    return {"event_id": event_id}


ENDPOINTS = (redact_event,)
