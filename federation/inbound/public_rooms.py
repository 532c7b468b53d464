"""The directory of published rooms, for other servers.

Source: server-server API, "Published Room Directory".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.inbound.reading_ports import PublicRoomsQuery, ReadingCall
from federation.inbound.request_fields import optional
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson

PATH = "/_matrix/federation/v1/publicRooms"
MAX_ROOM_TYPES = 50


@endpoint("GET", PATH, Access.SERVER, rate=Rate.SEARCH)
async def get_public_rooms(call: ReadingCall) -> Mapping[str, Any]:
    """List published rooms. Errors: `Forbidden`, `InvalidParam`."""
    query = PublicRoomsQuery(
        limit=call.query_int("limit") or 0,
        since=call.query_optional_str("since"),
        search_term=None,
        room_types=None,
        third_party_network=call.query_optional_str("third_party_instance_id"),
        all_networks=call.query_bool("include_all_networks"),
    )
    return await call.services.answering.directory.public_rooms(query)


@endpoint("POST", PATH, Access.SERVER, rate=Rate.SEARCH)
async def query_public_rooms(call: ReadingCall) -> Mapping[str, Any]:
    """List published rooms that fit a filter. Errors: `Forbidden`, `InvalidParam`, `BadJson`."""
    body = call.json
    limit = optional(body, "limit", int) or 0
    if limit < 0:
        raise BadJson("'limit' must not be negative")
    wanted = optional(body, "filter", dict) or {}
    query = PublicRoomsQuery(
        limit=limit,
        since=optional(body, "since", str),
        search_term=optional(wanted, "generic_search_term", str) or None,
        room_types=read_room_types(wanted),
        third_party_network=optional(body, "third_party_instance_id", str),
        all_networks=optional(body, "include_all_networks", bool) or False,
    )
    return await call.services.answering.directory.public_rooms(query)


def read_room_types(wanted: Mapping[str, Any]) -> Sequence[str | None] | None:
    """The room types that a filter lets through; None for all. Raises `BadJson`."""
    types = optional(wanted, "room_types", list)
    if types is None:
        return None
    if len(types) > MAX_ROOM_TYPES or not all(t is None or isinstance(t, str) for t in types):
        raise BadJson("'room_types' must be an array of strings and nulls")
    return types


ENDPOINTS = (get_public_rooms, query_public_rooms)
