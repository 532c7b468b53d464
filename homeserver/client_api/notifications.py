"""The notifications that a user has had.

Source: client-server API, "Listing Notifications".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.rooms.viewer import Viewer

MAX_LIMIT = 100
DEFAULT_LIMIT = 20


@endpoint("GET", "/_matrix/client/v3/notifications", Access.USER, rate=Rate.REQUEST)
async def get_notifications(call: Call) -> dict[str, Any]:
    """List events that notified the user, newest first."""
    return await call.services.notifications.page(
        Viewer(call.user_id, call.user_nid, call.device_nid),
        call.query_optional_str("from"),
        call.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
        highlights_only=call.query_optional_str("only") == "highlight",
    )


ENDPOINTS = (get_notifications,)
