"""E-mail addresses and telephone numbers of accounts.

Source: client-server API, "Adding Account Administrative Contact Information".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Forbidden, ThreepidMediumNotSupported
from homeserver.client_api.contact_requests import request_mail
from homeserver.client_api.interactive_auth import protected_request
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_object, require_str
from homeserver.users.contact_validation import Purpose, read_credentials


@endpoint("GET", "/_matrix/client/v3/account/3pid", Access.USER)
async def get_account_3pids(call: Call) -> dict[str, Any]:
    """List the user's third-party identifiers."""
    return {"threepids": await call.services.users.third_party_ids.list(call.user_nid)}


@endpoint("POST", "/_matrix/client/v3/account/3pid/add", Access.USER, rate=Rate.LOGIN)
async def add_3pid(call: Call) -> dict[str, Any]:
    """Add an address that was proved to this server.

    Errors: `AuthenticationNeeded`, `Forbidden`, `MissingParam`, `BadJson`, `ThreepidAuthFailed`,
    `ThreepidInUse`.
    """
    users = call.services.users
    users.third_party_ids.check_can_change()
    credentials = read_credentials(call.json)
    await users.third_party_ids.check_proof(credentials)
    user_id = await users.interactive_auth.confirm_user(protected_request(call))
    if user_id != call.user_id:
        raise Forbidden("You have authenticated as another user")
    await users.third_party_ids.add(call.user_nid, credentials)
    return {}


@endpoint("POST", "/_matrix/client/v3/account/3pid", Access.USER, rate=Rate.LOGIN)
async def bind_3pid_of_old(call: Call) -> dict[str, Any]:
    """Bind an address as `bind_3pid` does; older clients send it so.

    Errors: as of `bind_3pid`.
    """
    return await bind(call, require_object(call.json, "three_pid_creds"))


@endpoint("POST", "/_matrix/client/v3/account/3pid/bind", Access.USER, rate=Rate.LOGIN)
async def bind_3pid(call: Call) -> dict[str, Any]:
    """Bind an address at an identity server.

    Errors: `MissingParam`, `BadJson`, `ServerNotTrusted`, and what the identity server answers.
    """
    return await bind(call, call.json)


async def bind(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """Have an identity server bind what was proved there."""
    await call.services.users.third_party_ids.bind(
        call.user_nid,
        call.user_id,
        require_str(body, "id_server"),
        require_str(body, "id_access_token"),
        read_credentials(body),
    )
    return {}


@endpoint("POST", "/_matrix/client/v3/account/3pid/delete", Access.USER, rate=Rate.REQUEST)
async def delete_3pid(call: Call) -> dict[str, Any]:
    """Remove an address. Errors: `MissingParam`, `InvalidParam`, `Forbidden`."""
    result = await call.services.users.third_party_ids.remove(
        call.user_nid,
        call.user_id,
        require_str(call.json, "medium"),
        require_str(call.json, "address"),
        optional_str(call.json, "id_server"),
    )
    return {"id_server_unbind_result": result}


@endpoint("POST", "/_matrix/client/v3/account/3pid/unbind", Access.USER, rate=Rate.REQUEST)
async def unbind_3pid(call: Call) -> dict[str, Any]:
    """Have an identity server forget an address. Errors: `MissingParam`, `InvalidParam`."""
    result = await call.services.users.third_party_ids.unbind(
        call.user_nid,
        call.user_id,
        require_str(call.json, "medium"),
        require_str(call.json, "address"),
        optional_str(call.json, "id_server"),
    )
    return {"id_server_unbind_result": result}


@endpoint(
    "POST",
    "/_matrix/client/v3/account/3pid/email/requestToken",
    Access.PUBLIC,
    rate=Rate.REGISTRATION,
)
async def request_token_to_add_email(call: Call) -> dict[str, Any]:
    """Send a mail that verifies an address to be added. Errors: as of `request_mail`."""
    users = call.services.users
    if not users.third_party_ids.can_change:
        raise ThreepidMediumNotSupported("Accounts of this server get no e-mail addresses")
    return await request_mail(call, Purpose.ADD)


@endpoint("POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken", Access.PUBLIC)
async def request_token_to_add_msisdn(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Refuse. Errors: `ThreepidMediumNotSupported`."""
    raise ThreepidMediumNotSupported("This server sends no messages to telephones")


ENDPOINTS = (
    get_account_3pids,
    add_3pid,
    bind_3pid_of_old,
    bind_3pid,
    delete_3pid,
    unbind_3pid,
    request_token_to_add_email,
    request_token_to_add_msisdn,
)
