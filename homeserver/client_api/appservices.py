"""What only application services may do.

Source: application service API, "Client-Server API Extensions".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Forbidden, InvalidParam
from homeserver.client_api.public_rooms import VISIBILITIES
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_str
from homeserver.users.requester import CallingService


@endpoint(
    "POST",
    "/_matrix/client/v1/appservice/{appserviceId}/ping",
    Access.USER,
    rate=Rate.REQUEST,
    aliases=("/_matrix/client/unstable/fi.mau.msc2659/appservice/{appserviceId}/ping",),
)
async def ping_appservice(call: Call) -> dict[str, Any]:
    """Ping the application service that calls.

    Errors: `Forbidden`, `UrlNotSet`, `BadStatus`, `ConnectionFailed`, `ConnectionTimedOut`.
    """
    if calling_service(call).service_id != call.path["appserviceId"]:
        raise Forbidden("This is the access token of another application service")
    transaction_id = optional_str(call.json, "transaction_id")
    duration_ms = await call.services.appservices.ping(call.path["appserviceId"], transaction_id)
    return {"duration_ms": duration_ms}


@endpoint(
    "PUT",
    "/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}",
    Access.USER,
    rate=Rate.REQUEST,
)
async def update_appservice_room_directory_visibility(call: Call) -> Mapping[str, Any]:
    """Put a room into the directory of a network, or take it out.

    Errors: `Forbidden`, `NotFound`, `InvalidParam`, `MissingParam`.
    """
    service = calling_service(call)
    visibility = require_str(call.json, "visibility")
    if visibility not in VISIBILITIES:
        raise InvalidParam("'visibility' must be public or private")
    await call.services.appservices.directories.set_listed(
        service.service_id,
        call.path["networkId"],
        call.path["roomId"],
        listed=visibility == "public",
    )
    return {}


def calling_service(call: Call) -> CallingService:
    """The application service that calls. Raises `Forbidden`."""
    if call.service is None:
        raise Forbidden("Only application services may do this")
    return call.service


ENDPOINTS = (ping_appservice, update_appservice_room_directory_visibility)
