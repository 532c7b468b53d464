"""Users and rooms of other networks: no bridge has registered any.

Source: client-server API, "Third-party Lookups".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import NotFound
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v3/thirdparty/protocols", Access.USER)
async def get_protocols(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """List the bridged protocols."""
    return {}


@endpoint("GET", "/_matrix/client/v3/thirdparty/protocol/{protocol}", Access.USER)
async def get_protocol_metadata(call: Call) -> dict[str, Any]:
    """Describe a bridged protocol. Errors: `NotFound`."""
    raise NotFound(f"Unknown protocol {call.path['protocol']!r}")


@endpoint(
    "GET",
    "/_matrix/client/v3/thirdparty/location/{protocol}",
    Access.USER,
    aliases=("/_matrix/client/v3/thirdparty/user/{protocol}",),
)
async def query_by_protocol(call: Call) -> dict[str, Any]:
    """Find the Matrix side of a place or person elsewhere. Errors: `NotFound`."""
    raise NotFound(f"Unknown protocol {call.path['protocol']!r}")


@endpoint("GET", "/_matrix/client/v3/thirdparty/location", Access.USER)
async def query_location_by_alias(call: Call) -> dict[str, Any]:
    """Find the other side of a room. Errors: `MissingParam`, `NotFound`."""
    call.query_str("alias")
    raise NotFound("This room is in no other network")


@endpoint("GET", "/_matrix/client/v3/thirdparty/user", Access.USER)
async def query_user_by_id(call: Call) -> dict[str, Any]:
    """Find the other side of a user. Errors: `MissingParam`, `NotFound`."""
    call.query_str("userid")
    raise NotFound("This user is in no other network")


ENDPOINTS = (
    get_protocols,
    get_protocol_metadata,
    query_by_protocol,
    query_location_by_alias,
    query_user_by_id,
)
