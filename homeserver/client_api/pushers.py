"""Where notifications are sent.

Source: client-server API, "Push notifications".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v3/pushers", Access.USER)
async def get_pushers(call: Call) -> dict[str, Any]:
    """List one's pushers."""
    return {"pushers": await call.services.personal.pushers.list(call.user_nid)}


@endpoint("POST", "/_matrix/client/v3/pushers/set", Access.USER, rate=Rate.REQUEST)
async def post_pusher(call: Call) -> dict[str, Any]:
    """Add, change or remove a pusher. Errors: `MissingParam`, `InvalidParam`."""
    await call.services.personal.pushers.set(call.user_nid, call.device_nid, call.json)
    return {}


ENDPOINTS = (get_pushers, post_pusher)
