"""Logging in.

Source: client-server API, "Login" and "SSO client login/authentication".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import (
    AppserviceLoginUnsupported,
    Forbidden,
    NotFound,
    Unknown,
    UserLocked,
)
from federation.protocol.identifiers import UserId, build_user_id, server_of
from homeserver.client_api.service_login import (
    SERVICE_LOGIN,
    UNSTABLE_SERVICE_LOGIN,
    calling_service,
)
from homeserver.client_api.session_body import read_device_wish, render_session
from homeserver.http.call import Call
from homeserver.http.request_body import require_str
from homeserver.users.token_issuer import OpenedSession
from homeserver.users.user_identifier import Address, read_user_name


@endpoint("GET", "/_matrix/client/v3/login", Access.PUBLIC, rate=Rate.REQUEST)
async def get_login_flows(call: Call) -> dict[str, Any]:
    """Tell how one can log in here."""
    services = [{"type": SERVICE_LOGIN}] if call.services.appservices.services else []
    if not call.services.settings.auth.password_login:
        return {"flows": [{"type": "m.login.token"}, *services]}
    token = {"type": "m.login.token", "get_login_token": True}
    return {"flows": [{"type": "m.login.password"}, token, *services]}


@endpoint("POST", "/_matrix/client/v3/login", Access.PUBLIC, rate=Rate.LOGIN)
async def login(call: Call) -> dict[str, Any]:
    """Log a device in.

    Errors: `Unknown` for a type of login that is not offered, `MissingParam`, `BadJson`,
    `InvalidParam`, `Forbidden`, `UserLocked`, `LimitExceeded`; for application services
    `Exclusive`, `AppserviceLoginUnsupported`, `MissingToken`, `UnknownToken`.
    """
    session = await open_session(call, require_str(call.json, "type"))
    answer = render_session(session)
    base_url = call.services.settings.server.public_baseurl
    if base_url:
        answer["well_known"] = {"m.homeserver": {"base_url": base_url}}
    return answer


async def open_session(call: Call, login_type: str) -> OpenedSession:
    """Log in the way that the client wants."""
    service, wish = call.services.users.login, read_device_wish(call.json)
    if login_type == "m.login.password" and call.services.settings.auth.password_login:
        name, password = read_user_name(call.json), require_str(call.json, "password")
        return await service.log_in_by_password(name, password, wish)
    if login_type == "m.login.token":
        return await service.log_in_by_token(require_str(call.json, "token"), wish)
    if login_type in (SERVICE_LOGIN, UNSTABLE_SERVICE_LOGIN):
        return await log_in_for_service(call)
    raise Unknown("Unknown login type")


async def log_in_for_service(call: Call) -> OpenedSession:
    """Log in a user of an application service, who needs no password."""
    service, name = calling_service(call), read_user_name(call.json)
    if isinstance(name, Address):
        raise Forbidden("A service logs in by the names of its users")
    appservices, users = call.services.appservices, call.services.users
    if appservices.manages_devices(service.service_id):
        raise AppserviceLoginUnsupported("With io.element.msc4190 devices are made without login")
    server_name = server_of(service.sender)
    user_id = UserId(name) if name.startswith("@") else build_user_id(name, server_name)
    account = await appservices.accounts.get_own(service.service_id, user_id)
    if account.is_locked:
        raise UserLocked("This account has been locked")
    return await users.token_issuer.open_session(
        account.user_nid, account.user_id, read_device_wish(call.json)
    )


@endpoint(
    "GET",
    "/_matrix/client/v3/login/sso/redirect",
    Access.PUBLIC,
    aliases=("/_matrix/client/v3/login/sso/redirect/{idpId}",),
)
async def redirect_to_sso(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Lead the browser to the identity provider; there is none. Errors: `NotFound`."""
    raise NotFound("This server has no single sign-on")


ENDPOINTS = (get_login_flows, login, redirect_to_sso)
