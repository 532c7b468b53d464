"""Logging out.

Source: client-server API, "POST /logout" and "POST /logout/all".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.http.call import Call


@endpoint("POST", "/_matrix/client/v3/logout", Access.GUEST, locked_allowed=True)
async def logout(call: Call) -> dict[str, Any]:
    """Remove the calling device and its tokens."""
    await call.services.users.devices.log_out(call.user)
    return {}


@endpoint("POST", "/_matrix/client/v3/logout/all", Access.GUEST, locked_allowed=True)
async def logout_all(call: Call) -> dict[str, Any]:
    """Remove all devices of the user and revoke all tokens."""
    await call.services.users.devices.log_out_everywhere(call.user_nid, call.user_id)
    return {}


ENDPOINTS = (logout, logout_all)
