"""Tokens that log in another device of the same user.

Source: client-server API, "POST /login/get_token".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.interactive_auth import protected_request
from homeserver.http.call import Call


@endpoint("POST", "/_matrix/client/v1/login/get_token", Access.USER, rate=Rate.LOGIN)
async def generate_login_token(call: Call) -> dict[str, Any]:
    """Give out a token for one login. Errors: `AuthenticationNeeded`, `Forbidden`."""
    users = call.services.users
    await users.interactive_auth.confirm_user(protected_request(call))
    token, expires_in_ms = await users.short_lived_tokens.issue_login_token(call.user_nid)
    return {"login_token": token, "expires_in_ms": expires_in_ms}


ENDPOINTS = (generate_login_token,)
