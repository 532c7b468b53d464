"""Uploading filters.

Source: client-server API, "Filtering".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.own_user import check_own_user
from homeserver.http.call import Call


@endpoint("POST", "/_matrix/client/v3/user/{userId}/filter", Access.GUEST, rate=Rate.REQUEST)
async def define_filter(call: Call) -> dict[str, Any]:
    """Upload a filter; its ID. Errors: `Forbidden`, `BadJson`, `InvalidParam`."""
    check_own_user(call)
    return {"filter_id": await call.services.personal.filters.add(call.user_nid, call.json)}


@endpoint("GET", "/_matrix/client/v3/user/{userId}/filter/{filterId}", Access.GUEST)
async def get_filter(call: Call) -> bytes:
    """Show a filter. Errors: `Forbidden`, `NotFound`."""
    check_own_user(call)
    return await call.services.personal.filters.get(call.user_nid, call.path["filterId"])


ENDPOINTS = (define_filter, get_filter)
