"""The tags that users give to rooms.

Source: client-server API, "Room Tagging".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.own_user import check_own_user, room_of_path
from homeserver.http.call import Call

TAGS = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"


@endpoint("GET", TAGS, Access.USER)
async def get_room_tags(call: Call) -> dict[str, Any]:
    """List a room's tags. Errors: `Forbidden`, `InvalidParam`, `NotFound`."""
    check_own_user(call)
    room_nid = await room_of_path(call)
    return {"tags": await call.services.personal.account_data.tags(call.user_nid, room_nid)}


@endpoint("PUT", f"{TAGS}/{{tag}}", Access.USER, rate=Rate.REQUEST)
async def set_room_tag(call: Call) -> dict[str, Any]:
    """Give a room a tag. Errors: `Forbidden`, `InvalidParam`, `BadJson`, `NotFound`."""
    check_own_user(call)
    room_nid = await room_of_path(call)
    await call.services.personal.account_data.set_tag(
        call.user_nid, room_nid, call.path["tag"], call.json
    )
    return {}


@endpoint("DELETE", f"{TAGS}/{{tag}}", Access.USER, rate=Rate.REQUEST)
async def delete_room_tag(call: Call) -> dict[str, Any]:
    """Take a tag off a room. Errors: `Forbidden`, `InvalidParam`, `NotFound`."""
    check_own_user(call)
    room_nid = await room_of_path(call)
    await call.services.personal.account_data.remove_tag(call.user_nid, room_nid, call.path["tag"])
    return {}


ENDPOINTS = (get_room_tags, set_room_tag, delete_room_tag)
