"""Making an account.

Source: client-server API, "Account registration".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import (
    AppserviceLoginUnsupported,
    MissingParam,
    ThreepidDenied,
)
from federation.protocol.identifiers import server_of
from homeserver.client_api.contact_requests import request_mail
from homeserver.client_api.interactive_auth import protected_request
from homeserver.client_api.service_login import SERVICE_LOGIN, calling_service
from homeserver.client_api.session_body import read_device_wish, render_session
from homeserver.http.call import Call
from homeserver.http.request_body import optional_bool, optional_str
from homeserver.users.contact_validation import Purpose
from homeserver.users.registration import Applicant
from homeserver.users.token_issuer import DeviceWish


@endpoint("POST", "/_matrix/client/v3/register", Access.PUBLIC, rate=Rate.REGISTRATION)
async def register(call: Call) -> dict[str, Any]:
    """Make an account and log in to it.

    Errors: `AuthenticationNeeded`, `Forbidden`, `InvalidUsername`, `UserInUse`, `Exclusive`,
    `WeakPassword`, `MissingParam`, `BadJson`, `InvalidParam`; for application services
    `AppserviceLoginUnsupported`, `UnknownToken`.
    """
    if call.query_choice("kind", ("user", "guest"), "user") == "guest":
        return await register_guest(call)
    if optional_str(call.json, "type") == SERVICE_LOGIN:
        return await register_for_service(call)
    users = call.services.users
    users.registration.check_open()
    applicant = await read_applicant(call)
    wish = read_device_wish(call.json)
    inhibit_login = optional_bool(call.json, "inhibit_login")
    await users.registration.check_applicant(applicant)
    proofs = await users.interactive_auth.authenticate(
        protected_request(call), users.registration.build_offer()
    )
    user = await users.registration.register(applicant, proofs)
    if inhibit_login:
        return {"user_id": user.user_id, "home_server": server_of(user.user_id)}
    session = await users.token_issuer.open_session(user.user_nid, user.user_id, wish)
    return render_session(session)


async def register_for_service(call: Call) -> dict[str, Any]:
    """Make a user of an application service, whom it may log in at once.

    Source: application service API, "Server admin style permissions".
    """
    service = calling_service(call)
    username = optional_str(call.json, "username") or optional_str(call.json, "user")
    if username is None:
        raise MissingParam("Missing parameter 'username'")
    wish = read_device_wish(call.json)
    inhibit_login = optional_bool(call.json, "inhibit_login")
    appservices = call.services.appservices
    if not inhibit_login and appservices.manages_devices(service.service_id):
        raise AppserviceLoginUnsupported("'inhibit_login' must be true with io.element.msc4190")
    user = await appservices.accounts.register(service.service_id, username)
    if inhibit_login:
        return {"user_id": user.user_id, "home_server": server_of(user.user_id)}
    session = await call.services.users.token_issuer.open_session(user.user_nid, user.user_id, wish)
    return render_session(session)


async def register_guest(call: Call) -> dict[str, Any]:
    """Make a guest account; the name of the device is all that a guest may say."""
    users = call.services.users
    user = await users.registration.register_guest()
    wish = DeviceWish(display_name=optional_str(call.json, "initial_device_display_name"))
    session = await users.token_issuer.open_session(user.user_nid, user.user_id, wish)
    return render_session(session)


async def read_applicant(call: Call) -> Applicant:
    """Who wants an account; the password may be missing while a client asks for the stages."""
    body = call.json
    password = optional_str(body, "password")
    if password is None and "auth" in body:
        raise MissingParam("Missing parameter 'password'")
    guest_token = optional_str(body, "guest_access_token")
    guest = None
    if guest_token is not None:
        guest = await call.services.users.registration.find_guest(guest_token)
    return Applicant(optional_str(body, "username"), password, guest)


@endpoint("GET", "/_matrix/client/v3/register/available", Access.PUBLIC, rate=Rate.REQUEST)
async def check_username_availability(call: Call) -> dict[str, Any]:
    """Tell whether a name can be had.

    Errors: `Forbidden`, `InvalidUsername`, `UserInUse`, `Exclusive`.
    """
    registration = call.services.users.registration
    registration.check_open()
    await registration.check_username(call.query_str("username"))
    return {"available": True}


@endpoint(
    "POST",
    "/_matrix/client/v3/register/email/requestToken",
    Access.PUBLIC,
    rate=Rate.REGISTRATION,
)
async def request_token_to_register_email(call: Call) -> dict[str, Any]:
    """Send a mail that verifies the address of a new account. Errors: as of `request_mail`."""
    users = call.services.users
    users.registration.check_open()
    if not users.contacts.is_available:
        raise ThreepidDenied("This server does not take e-mail addresses")
    return await request_mail(call, Purpose.REGISTER)


@endpoint("POST", "/_matrix/client/v3/register/msisdn/requestToken", Access.PUBLIC)
async def request_token_to_register_msisdn(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Refuse: accounts here get no telephone numbers. Errors: `ThreepidDenied`."""
    raise ThreepidDenied("This server does not take telephone numbers")


ENDPOINTS = (
    register,
    check_username_availability,
    request_token_to_register_email,
    request_token_to_register_msisdn,
)
