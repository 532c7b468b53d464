"""The fully-read marker, and receipts moved along with it.

Source: client-server API, "Fully read markers".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str
from homeserver.rooms.receipts import RECEIPT_TYPES


@endpoint("POST", "/_matrix/client/v3/rooms/{roomId}/read_markers", Access.USER, rate=Rate.REQUEST)
async def set_read_marker(call: Call) -> dict[str, Any]:
    """Move any of the markers. Errors: `Forbidden`, `NotFound`, `BadJson`."""
    named = {kind: optional_str(call.json, kind) for kind in sorted(RECEIPT_TYPES)}
    await call.services.receipts.move(
        call.user_id,
        call.user_nid,
        call.path["roomId"],
        {kind: event_id for kind, event_id in named.items() if event_id is not None},
    )
    call.services.personal.presence.note_activity(call.user_nid)
    return {}


ENDPOINTS = (set_read_marker,)
