"""Refreshing access tokens.

Source: client-server API, "Refreshing access tokens".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.session_body import render_tokens
from homeserver.http.call import Call
from homeserver.http.request_body import require_str


@endpoint("POST", "/_matrix/client/v3/refresh", Access.PUBLIC, rate=Rate.REQUEST)
async def refresh(call: Call) -> dict[str, Any]:
    """Exchange a refresh token for a new pair. Errors: `UnknownToken`, `UserLocked`."""
    tokens = await call.services.users.token_issuer.refresh(require_str(call.json, "refresh_token"))
    return render_tokens(tokens)


ENDPOINTS = (refresh,)
