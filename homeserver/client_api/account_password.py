"""Changing one's password.

Source: client-server API, "Password management".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Forbidden, ThreepidNotFound
from homeserver.client_api.contact_requests import request_mail
from homeserver.client_api.interactive_auth import protected_request
from homeserver.http.call import Call
from homeserver.http.request_body import optional_bool, require_str
from homeserver.users.contact_validation import Purpose


@endpoint("POST", "/_matrix/client/v3/account/password", Access.OPTIONAL, rate=Rate.LOGIN)
async def change_password(call: Call) -> dict[str, Any]:
    """Set a new password and, unless the client says otherwise, log all other devices out.

    Errors: `AuthenticationNeeded`, `Forbidden`, `WeakPassword`, `MissingParam`, `InvalidParam`.
    """
    if not call.services.settings.auth.password_login:
        raise Forbidden("Passwords cannot be changed on this server")
    users = call.services.users
    new_password = require_str(call.json, "new_password")
    logs_others_out = optional_bool(call.json, "logout_devices", default=True)
    users.accounts.check_new_password(new_password)
    user_id = await users.interactive_auth.confirm_user(
        protected_request(call), forgotten_password=True
    )
    account = await users.accounts.set_password(user_id, new_password)
    if logs_others_out:
        kept = call.device_nid if call.requester else 0
        await users.devices.log_out_others(account.user_nid, user_id, kept)
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/account/password/email/requestToken",
    Access.PUBLIC,
    rate=Rate.REGISTRATION,
)
async def request_token_to_reset_password(call: Call) -> dict[str, Any]:
    """Send a mail by which the owner of an account agrees to a new password.

    Errors: as of `request_mail`.
    """
    services = call.services
    if not services.users.contacts.is_available or not services.settings.auth.password_login:
        raise ThreepidNotFound("Nobody here has this third-party identifier")
    return await request_mail(call, Purpose.RESET)


@endpoint("POST", "/_matrix/client/v3/account/password/msisdn/requestToken", Access.PUBLIC)
async def request_message_to_reset_password(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Refuse: no messages are sent to telephones. Errors: `ThreepidNotFound`."""
    raise ThreepidNotFound("Nobody here has this third-party identifier")


ENDPOINTS = (
    change_password,
    request_token_to_reset_password,
    request_message_to_reset_password,
)
