"""The directory of published rooms.

Source: client-server API, "Published room directory".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, InvalidParam, MissingToken
from homeserver.http.call import Call
from homeserver.http.request_body import (
    optional_bool,
    optional_int,
    optional_list,
    optional_object,
    optional_str,
)
from homeserver.rooms.directory import MAX_LIMIT
from homeserver.rooms.ports import DirectoryQuery

VISIBILITIES = ("public", "private")
MAX_ROOM_TYPES = 50


@endpoint("GET", "/_matrix/client/v3/directory/list/room/{roomId}", Access.PUBLIC)
async def get_room_visibility_on_directory(call: Call) -> Mapping[str, Any]:
    """Tell whether a room is in the directory. Errors: `NotFound`."""
    published = await call.services.rooms.directory.is_published(call.path["roomId"])
    return {"visibility": "public" if published else "private"}


@endpoint(
    "PUT",
    "/_matrix/client/v3/directory/list/room/{roomId}",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def set_room_visibility_on_directory(call: Call) -> Mapping[str, Any]:
    """Put a room into the directory or take it out. Errors: `NotFound`, `Forbidden`."""
    visibility = optional_str(call.json, "visibility") or "public"
    if visibility not in VISIBILITIES:
        raise InvalidParam("'visibility' must be public or private")
    await call.services.rooms.directory.set_published(
        call.user_id,
        call.path["roomId"],
        published=visibility == "public",
        is_admin=call.is_admin,
    )
    return {}


@endpoint("GET", "/_matrix/client/v3/publicRooms", Access.OPTIONAL, rate=Rate.SEARCH)
async def get_public_rooms(call: Call) -> Mapping[str, Any]:
    """List published rooms. Errors: `MissingToken` (where the directory is for users only)."""
    if call.requester is None and not call.services.settings.rooms.directory_public:
        raise MissingToken
    query = DirectoryQuery(
        limit=call.query_int("limit", MAX_LIMIT, maximum=MAX_LIMIT),
        since=call.query_optional_str("since"),
    )
    return await call.services.rooms.directory.page(call.query_optional_str("server"), query)


@endpoint("POST", "/_matrix/client/v3/publicRooms", Access.GUEST, rate=Rate.SEARCH)
async def query_public_rooms(call: Call) -> Mapping[str, Any]:
    """List published rooms that fit a filter."""
    body = call.json
    limit = optional_int(body, "limit")
    if limit is not None and limit < 0:
        raise InvalidParam("'limit' must not be negative")
    wanted = optional_object(body, "filter") or {}
    query = DirectoryQuery(
        limit=MAX_LIMIT if limit is None else min(limit, MAX_LIMIT),
        since=optional_str(body, "since"),
        search_term=optional_str(wanted, "generic_search_term") or None,
        room_types=read_room_types(wanted),
        third_party_network=optional_str(body, "third_party_instance_id"),
        all_networks=optional_bool(body, "include_all_networks"),
    )
    return await call.services.rooms.directory.page(call.query_optional_str("server"), query)


def read_room_types(wanted: Mapping[str, Any]) -> Sequence[str | None] | None:
    """The room types that a filter lets through; None for all. Raises `BadJson`."""
    types = optional_list(wanted, "room_types")
    if types is None:
        return None
    if len(types) > MAX_ROOM_TYPES or not all(t is None or isinstance(t, str) for t in types):
        raise BadJson("'room_types' must be an array of strings and nulls")
    return types


ENDPOINTS = (
    get_room_visibility_on_directory,
    set_room_visibility_on_directory,
    get_public_rooms,
    query_public_rooms,
)
