"""Whose token this is.

Source: client-server API, "Current account information".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v3/account/whoami", Access.GUEST, rate=Rate.REQUEST)
async def get_token_owner(call: Call) -> dict[str, Any]:
    """Tell user and device behind the token."""
    owner: dict[str, Any] = {"user_id": call.user_id, "is_guest": call.is_guest}
    if call.device_id is not None:
        owner["device_id"] = call.device_id
    return owner


ENDPOINTS = (get_token_owner,)
