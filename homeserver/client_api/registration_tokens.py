"""Whether a registration token still lets somebody in.

Source: client-server API, "Token-authenticated registration".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call


# Limited like registering itself: nobody shall find tokens by trying.
@endpoint(
    "GET",
    "/_matrix/client/v1/register/m.login.registration_token/validity",
    Access.PUBLIC,
    rate=Rate.REGISTRATION,
)
async def registration_token_validity(call: Call) -> dict[str, Any]:
    """Tell whether the token is valid now. Errors: `MissingParam`, `Forbidden`."""
    token = call.query_str("token")
    users = call.services.users
    users.registration.check_open()
    return {"valid": await users.registration_tokens.is_valid(token)}


ENDPOINTS = (registration_token_validity,)
