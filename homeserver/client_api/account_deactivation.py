"""Closing one's account.

Source: client-server API, "Account deactivation".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.interactive_auth import protected_request
from homeserver.http.call import Call
from homeserver.http.request_body import optional_bool, optional_str


@endpoint("POST", "/_matrix/client/v3/account/deactivate", Access.OPTIONAL, rate=Rate.LOGIN)
async def deactivate_account(call: Call) -> dict[str, Any]:
    """Deactivate the account. Errors: `AuthenticationNeeded`, `Forbidden`, `BadJson`."""
    users = call.services.users
    erase = optional_bool(call.json, "erase")
    id_server = optional_str(call.json, "id_server")
    user_id = await users.interactive_auth.confirm_user(protected_request(call))
    account = await users.accounts.get(user_id)
    result = await users.third_party_ids.unbind_all(account.user_nid, user_id, id_server)
    await users.deactivation.deactivate(user_id, erase=erase)
    return {"id_server_unbind_result": result}


ENDPOINTS = (deactivate_account,)
