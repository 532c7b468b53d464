"""Proving to third parties who one is.

Source: client-server API, "OpenID".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Forbidden
from homeserver.http.call import Call


@endpoint(
    "POST",
    "/_matrix/client/v3/user/{userId}/openid/request_token",
    Access.USER,
    rate=Rate.REQUEST,
)
async def request_open_id_token(call: Call) -> dict[str, Any]:
    """Give out an OpenID token. Errors: `Forbidden` for another user's."""
    if call.path["userId"] != call.user_id:
        raise Forbidden("You may only ask for your own OpenID token")
    services = call.services
    token, expires_in = await services.users.short_lived_tokens.issue_openid_token(call.user_nid)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "matrix_server_name": services.settings.server.name,
        "expires_in": expires_in,
    }


ENDPOINTS = (request_open_id_token,)
