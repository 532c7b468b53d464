"""Upgrading rooms.

Source: client-server API, "Room upgrades".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import RoomId, check_user_id
from federation.protocol.room_versions import get_room_version
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str_list, require_str
from homeserver.rooms.upgrade import UpgradeRequest


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/upgrade",
    Access.USER,
    rate=Rate.ROOM_CREATION,
    suspended_allowed=False,
)
async def upgrade_room(call: Call) -> Mapping[str, Any]:
    """Replace a room by one of another version.

    Errors: `UnsupportedRoomVersion`, `Forbidden`, `NotFound`.
    """
    version = get_room_version(require_str(call.json, "new_version"))
    creators = optional_str_list(call.json, "additional_creators") or []
    request = UpgradeRequest(
        call.user_id,
        version,
        additional_creators=[check_user_id(user) for user in creators],
        is_admin=call.is_admin,
    )
    room_id = await call.services.rooms.upgrades.upgrade(request, RoomId(call.path["roomId"]))
    return {"replacement_room": room_id}


ENDPOINTS = (upgrade_room,)
