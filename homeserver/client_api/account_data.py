"""What users keep for themselves on the server.

Source: client-server API, "Client Config"; MSC3391 for deleting.
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.own_user import check_own_user, room_of_path
from homeserver.http.call import Call
from homeserver.push.rules import PUSH_RULES
from storage.account_data import GLOBAL

MAX_BODY_BYTES = 1_048_576
ACCOUNT = "/_matrix/client/v3/user/{userId}/account_data/{type}"
UNSTABLE_ACCOUNT = "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/account_data/{type}"
UNSTABLE_ROOM = (
    "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}/rooms/{roomId}/account_data/{type}"
)
ROOM = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}"


@endpoint("PUT", ACCOUNT, Access.USER, rate=Rate.REQUEST, max_body_bytes=MAX_BODY_BYTES)
async def set_account_data(call: Call) -> dict[str, Any]:
    """Replace account data of a type. Errors: `Forbidden`, `ServerControlled`, `InvalidParam`."""
    check_own_user(call)
    await call.services.personal.account_data.set(
        call.user_nid, GLOBAL, call.path["type"], call.json
    )
    return {}


@endpoint("GET", ACCOUNT, Access.USER)
async def get_account_data(call: Call) -> bytes:
    """Show account data of a type. Errors: `Forbidden`, `NotFound`."""
    check_own_user(call)
    if call.path["type"] == PUSH_RULES:
        return await call.services.push_rules.content(call.user_nid, call.user_id)
    return await call.services.personal.account_data.get(call.user_nid, GLOBAL, call.path["type"])


@endpoint("PUT", ROOM, Access.USER, rate=Rate.REQUEST, max_body_bytes=MAX_BODY_BYTES)
async def set_account_data_per_room(call: Call) -> dict[str, Any]:
    """Replace a room's account data of a type.

    Errors: `Forbidden`, `ServerControlled`, `InvalidParam`, `NotFound`.
    """
    check_own_user(call)
    room_nid = await room_of_path(call)
    await call.services.personal.account_data.set(
        call.user_nid, room_nid, call.path["type"], call.json
    )
    return {}


@endpoint("GET", ROOM, Access.USER)
async def get_account_data_per_room(call: Call) -> bytes:
    """Show a room's account data of a type. Errors: `Forbidden`, `InvalidParam`, `NotFound`."""
    check_own_user(call)
    room_nid = await room_of_path(call)
    return await call.services.personal.account_data.get(call.user_nid, room_nid, call.path["type"])


@endpoint("DELETE", UNSTABLE_ACCOUNT, Access.USER, rate=Rate.REQUEST)
async def delete_account_data(call: Call) -> dict[str, Any]:
    """Delete account data of a type. Errors: `Forbidden`, `ServerControlled`."""
    check_own_user(call)
    await call.services.personal.account_data.delete(call.user_nid, GLOBAL, call.path["type"])
    return {}


@endpoint("DELETE", UNSTABLE_ROOM, Access.USER, rate=Rate.REQUEST)
async def delete_account_data_per_room(call: Call) -> dict[str, Any]:
    """Delete a room's account data of a type. Errors: `Forbidden`, `ServerControlled`."""
    check_own_user(call)
    room_nid = await room_of_path(call)
    await call.services.personal.account_data.delete(call.user_nid, room_nid, call.path["type"])
    return {}


ENDPOINTS = (
    delete_account_data,
    delete_account_data_per_room,
    set_account_data,
    get_account_data,
    set_account_data_per_room,
    get_account_data_per_room,
)
