"""Making accounts from scripts.

Source: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import server_of
from homeserver.client_api.session_body import read_device_wish, render_session
from homeserver.http.call import Call
from homeserver.http.request_body import optional_bool, optional_str, require_str
from homeserver.users.shared_secret import SharedSecretRequest


@endpoint("GET", "/_synapse/admin/v1/register", Access.PUBLIC, rate=Rate.REQUEST)
async def get_nonce(call: Call) -> dict[str, Any]:
    """Give out a nonce. Errors: `Unknown` where no shared secret is configured."""
    return {"nonce": call.services.users.shared_secret.new_nonce()}


@endpoint("POST", "/_synapse/admin/v1/register", Access.PUBLIC, rate=Rate.REQUEST)
async def register_by_shared_secret(call: Call) -> dict[str, Any]:
    """Make an account and log in to it.

    Errors: `Unknown`, `Forbidden`, `InvalidUsername`, `UserInUse`, `WeakPassword`, `MissingParam`,
    `BadJson`.
    """
    users, body = call.services.users, call.json
    request = SharedSecretRequest(
        nonce=require_str(body, "nonce"),
        username=require_str(body, "username"),
        password=require_str(body, "password"),
        admin=optional_bool(body, "admin"),
        user_type=optional_str(body, "user_type"),
        mac=require_str(body, "mac"),
    )
    wish = read_device_wish(body)
    inhibit_login = optional_bool(body, "inhibit_login")
    user = await users.shared_secret.register(request)
    if inhibit_login:
        return {"user_id": user.user_id, "home_server": server_of(user.user_id)}
    return render_session(await users.token_issuer.open_session(user.user_nid, user.user_id, wish))


ENDPOINTS = (get_nonce, register_by_shared_secret)
