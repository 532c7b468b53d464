"""Receipts.

Source: client-server API, "Receipts".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.rooms.receipts import parse_thread_id


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}",
    Access.USER,
    rate=Rate.REQUEST,
)
async def post_receipt(call: Call) -> dict[str, Any]:
    """Move a receipt or the fully-read marker.

    Errors: `Forbidden` for others than members, `NotFound`, `InvalidParam`.
    """
    await call.services.receipts.move(
        call.user_id,
        call.user_nid,
        call.path["roomId"],
        {call.path["receiptType"]: call.path["eventId"]},
        parse_thread_id(call.json.get("thread_id")),
    )
    call.services.personal.presence.note_activity(call.user_nid)
    return {}


ENDPOINTS = (post_receipt,)
