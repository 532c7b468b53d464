"""Users and rooms of other networks, as bridges know them.

Source: client-server API, "Third-party Lookups".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call

OF_THE_REQUEST = ("access_token", "user_id", "device_id")
"""Query parameters that are no fields of a network."""


@endpoint("GET", "/_matrix/client/v3/thirdparty/protocols", Access.USER, rate=Rate.SEARCH)
async def get_protocols(call: Call) -> dict[str, Any]:
    """Describe the bridged protocols."""
    return await call.services.appservices.networks.protocols()


@endpoint("GET", "/_matrix/client/v3/thirdparty/protocol/{protocol}", Access.USER, rate=Rate.SEARCH)
async def get_protocol_metadata(call: Call) -> dict[str, Any]:
    """Describe a bridged protocol. Errors: `NotFound`."""
    return await call.services.appservices.networks.protocol(call.path["protocol"])


@endpoint("GET", "/_matrix/client/v3/thirdparty/location/{protocol}", Access.USER, rate=Rate.SEARCH)
async def query_location_by_protocol(call: Call) -> list[dict[str, Any]]:
    """Find the Matrix side of a place elsewhere. Errors: `NotFound`."""
    networks = call.services.appservices.networks
    return await networks.query("location", call.path["protocol"], fields_of(call))


@endpoint("GET", "/_matrix/client/v3/thirdparty/user/{protocol}", Access.USER, rate=Rate.SEARCH)
async def query_user_by_protocol(call: Call) -> list[dict[str, Any]]:
    """Find the Matrix side of somebody elsewhere. Errors: `NotFound`."""
    networks = call.services.appservices.networks
    return await networks.query("user", call.path["protocol"], fields_of(call))


@endpoint("GET", "/_matrix/client/v3/thirdparty/location", Access.USER, rate=Rate.SEARCH)
async def query_location_by_alias(call: Call) -> list[dict[str, Any]]:
    """Find the other side of a room. Errors: `MissingParam`, `NotFound`."""
    alias = call.query_str("alias")
    return await call.services.appservices.networks.reverse("location", "alias", alias)


@endpoint("GET", "/_matrix/client/v3/thirdparty/user", Access.USER, rate=Rate.SEARCH)
async def query_user_by_id(call: Call) -> list[dict[str, Any]]:
    """Find the other side of a user. Errors: `MissingParam`, `NotFound`."""
    user_id = call.query_str("userid")
    return await call.services.appservices.networks.reverse("user", "userid", user_id)


def fields_of(call: Call) -> list[tuple[str, str]]:
    """The fields that are asked for."""
    return [
        (name, value)
        for name, values in call.query.items()
        if name not in OF_THE_REQUEST
        for value in values
    ]


ENDPOINTS = (
    get_protocols,
    get_protocol_metadata,
    query_location_by_protocol,
    query_user_by_protocol,
    query_location_by_alias,
    query_user_by_id,
)
