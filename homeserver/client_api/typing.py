"""Typing notifications.

Source: client-server API, "Typing Notifications".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Forbidden, InvalidParam
from homeserver.client_api.own_user import check_own_user
from homeserver.http.call import Call
from homeserver.http.request_body import optional_int, require_bool
from homeserver.rooms.typing import DEFAULT_TIMEOUT_MS
from storage.memberships import is_joined


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/typing/{userId}",
    Access.USER,
    rate=Rate.REQUEST,
)
async def set_typing(call: Call) -> dict[str, Any]:
    """Say that one types, or no longer does.

    Errors: `Forbidden` for others than members, `MissingParam`, `BadJson`, `InvalidParam`.
    """
    check_own_user(call)
    is_typing = require_bool(call.json, "typing")
    timeout_ms = optional_int(call.json, "timeout")
    if timeout_ms is not None and timeout_ms < 0:
        raise InvalidParam("'timeout' must not be negative")
    room = await call.services.names.rooms.find(call.path["roomId"])
    if room is None or not await is_joined(call.services.db, call.user_nid, room.room_nid):
        raise Forbidden("You are not in this room")
    if not is_typing:
        call.services.typing.stop(room.room_nid, call.user_id)
        return {}
    timeout_ms = DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
    call.services.typing.start(room.room_nid, call.user_id, timeout_ms)
    call.services.personal.presence.note_activity(call.user_nid)
    return {}


ENDPOINTS = (set_typing,)
