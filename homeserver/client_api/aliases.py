"""Room aliases.

Source: client-server API, "Room aliases".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.http.request_body import require_str
from homeserver.rooms.aliases import AliasUser


@endpoint("GET", "/_matrix/client/v3/directory/room/{roomAlias}", Access.PUBLIC, rate=Rate.REQUEST)
async def get_room_id_by_alias(call: Call) -> Mapping[str, Any]:
    """Tell where an alias leads. Errors: `InvalidParam`, `NotFound`, `RequestTimeout`."""
    target = await call.services.rooms.aliases.resolve(call.path["roomAlias"])
    return {"room_id": target.room_id, "servers": target.servers}


@endpoint(
    "PUT",
    "/_matrix/client/v3/directory/room/{roomAlias}",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def set_room_alias(call: Call) -> Mapping[str, Any]:
    """Make an alias. Errors: `InvalidParam`, `AliasTaken`, `Exclusive`, `NotFound`."""
    room_id = require_str(call.json, "room_id")
    await call.services.rooms.aliases.add(alias_user(call), call.path["roomAlias"], room_id)
    return {}


@endpoint(
    "DELETE",
    "/_matrix/client/v3/directory/room/{roomAlias}",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def delete_room_alias(call: Call) -> Mapping[str, Any]:
    """Remove an alias. Errors: `InvalidParam`, `NotFound`, `Forbidden`, `Exclusive`."""
    await call.services.rooms.aliases.remove(alias_user(call), call.path["roomAlias"])
    return {}


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/aliases", Access.USER, rate=Rate.REQUEST)
async def get_local_aliases(call: Call) -> Mapping[str, Any]:
    """List this server's aliases of a room. Errors: `Forbidden`."""
    aliases = await call.services.rooms.aliases.list_local(alias_user(call), call.path["roomId"])
    return {"aliases": aliases}


def alias_user(call: Call) -> AliasUser:
    """The caller as aliases see them."""
    return AliasUser(
        call.user_id, call.user_nid, is_admin=call.is_admin, service_id=call.service_id
    )


ENDPOINTS = (get_room_id_by_alias, set_room_alias, delete_room_alias, get_local_aliases)
