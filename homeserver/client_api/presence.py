"""Who is online.

Source: client-server API, "Presence".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.own_user import check_own_user
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_str

STATUS = "/_matrix/client/v3/presence/{userId}/status"


@endpoint("GET", STATUS, Access.USER)
async def get_presence(call: Call) -> dict[str, Any]:
    """Show somebody's presence. Errors: `Forbidden` without a common room."""
    return await call.services.personal.presence.status(call.user_nid, call.path["userId"])


@endpoint("PUT", STATUS, Access.USER, rate=Rate.REQUEST)
async def set_presence(call: Call) -> dict[str, Any]:
    """Set one's own presence. Errors: `Forbidden`, `MissingParam`, `BadJson`, `InvalidParam`."""
    check_own_user(call)
    await call.services.personal.presence.set_status(
        call.user_id,
        call.user_nid,
        call.device_nid,
        require_str(call.json, "presence"),
        optional_str(call.json, "status_msg"),
    )
    return {}


ENDPOINTS = (get_presence, set_presence)
