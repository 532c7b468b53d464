"""Searching for users.

Source: client-server API, "User directory".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from homeserver.http.call import Call
from homeserver.http.request_body import optional_int, require_str
from homeserver.users.user_directory import DEFAULT_LIMIT


@endpoint("POST", "/_matrix/client/v3/user_directory/search", Access.USER, rate=Rate.SEARCH)
async def search_user_directory(call: Call) -> dict[str, Any]:
    """Find users by ID and display name. Errors: `MissingParam`, `BadJson`, `InvalidParam`."""
    limit = optional_int(call.json, "limit")
    if limit is not None and limit < 0:
        raise InvalidParam("'limit' must not be negative")
    return await call.services.personal.user_directory.search(
        call.user_nid,
        require_str(call.json, "search_term"),
        DEFAULT_LIMIT if limit is None else limit,
    )


ENDPOINTS = (search_user_directory,)
