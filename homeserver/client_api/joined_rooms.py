"""Which rooms a user is in.

Source: client-server API, `GET /joined_rooms`.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.http.call import Call
from storage.changes import Membership
from storage.memberships import rooms_of


@endpoint("GET", "/_matrix/client/v3/joined_rooms", Access.USER)
async def get_joined_rooms(call: Call) -> Mapping[str, Any]:
    """List the rooms that the caller has joined."""
    return {"joined_rooms": await rooms_of(call.services.db, call.user_nid, Membership.JOIN)}


ENDPOINTS = (get_joined_rooms,)
