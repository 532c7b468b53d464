"""Queries: who a user is, where an alias leads.

Source: server-server API, "Querying for information".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import ReadingCall
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import check_room_alias, check_user_id


@endpoint("GET", "/_matrix/federation/v1/query/profile", Access.SERVER, rate=Rate.REQUEST)
async def query_profile(call: ReadingCall) -> Mapping[str, Any]:
    """Show a user's profile, or one field of it. Errors: `NotFound`, `Forbidden`."""
    user_id = check_user_id(call.query_str("user_id"))
    field = call.query_optional_str("field")
    return await call.services.answering.profiles.profile(user_id, field)


@endpoint("GET", "/_matrix/federation/v1/query/directory", Access.SERVER, rate=Rate.REQUEST)
async def query_room_directory(call: ReadingCall) -> Mapping[str, Any]:
    """Tell where an alias leads. Errors: `NotFound`, `InvalidParam`."""
    alias = check_room_alias(call.query_str("room_alias"))
    target = await call.services.answering.directory.find_alias(alias)
    return {"room_id": target.room_id, "servers": target.servers}


@endpoint("GET", "/_matrix/federation/v1/query/{queryType}", Access.SERVER, rate=Rate.REQUEST)
async def query_info(call: ReadingCall) -> Mapping[str, Any]:
    """Refuse any other query. Errors: `InvalidParam`."""
    raise InvalidParam(f"There are no queries of type {call.path['queryType']!r}")


ENDPOINTS = (query_profile, query_room_directory, query_info)
