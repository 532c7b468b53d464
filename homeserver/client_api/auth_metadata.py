"""Whether the OAuth 2.0 API is served: it is not, the legacy API is.

Source: client-server API, "Authentication API discovery" and "Server metadata discovery".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import Unrecognized
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v1/auth_metadata", Access.PUBLIC)
async def get_auth_metadata(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Tell clients to use the legacy API. Errors: `Unrecognized`."""
    raise Unrecognized("This server does not serve the OAuth 2.0 API")


ENDPOINTS = (get_auth_metadata,)
