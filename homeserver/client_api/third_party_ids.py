"""E-mail addresses and telephone numbers of accounts: this server keeps none.

Source: client-server API, "Adding Account Administrative Contact Information".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import (
    Forbidden,
    ServerNotTrusted,
    ThreepidMediumNotSupported,
)
from homeserver.http.call import Call
from homeserver.http.request_body import require_str


@endpoint("GET", "/_matrix/client/v3/account/3pid", Access.USER)
async def get_account_3pids(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """List the user's third-party identifiers."""
    return {"threepids": []}


@endpoint(
    "POST",
    "/_matrix/client/v3/account/3pid",
    Access.USER,
    aliases=("/_matrix/client/v3/account/3pid/add",),
)
async def add_3pid(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Refuse, as the capabilities say. Errors: `Forbidden`."""
    raise Forbidden("Third-party identifiers cannot be changed on this server")


@endpoint("POST", "/_matrix/client/v3/account/3pid/bind", Access.USER)
async def bind_3pid(call: Call) -> dict[str, Any]:
    """Refuse: no identity server is trusted. Errors: `MissingParam`, `ServerNotTrusted`."""
    for parameter in ("client_secret", "id_server", "id_access_token", "sid"):
        require_str(call.json, parameter)
    raise ServerNotTrusted("This server trusts no identity server")


@endpoint(
    "POST",
    "/_matrix/client/v3/account/3pid/delete",
    Access.USER,
    aliases=("/_matrix/client/v3/account/3pid/unbind",),
)
async def delete_3pid(call: Call) -> dict[str, Any]:
    """There is nothing to remove, and no identity server to tell. Errors: `MissingParam`."""
    require_str(call.json, "medium")
    require_str(call.json, "address")
    return {"id_server_unbind_result": "no-support"}


@endpoint(
    "POST",
    "/_matrix/client/v3/account/3pid/email/requestToken",
    Access.PUBLIC,
    aliases=("/_matrix/client/v3/account/3pid/msisdn/requestToken",),
)
async def request_token_to_add_3pid(call: Call) -> dict[str, Any]:  # noqa: ARG001
    """Refuse. Errors: `ThreepidMediumNotSupported`."""
    raise ThreepidMediumNotSupported("This server does not keep third-party identifiers")


ENDPOINTS = (
    get_account_3pids,
    add_3pid,
    bind_3pid,
    delete_3pid,
    request_token_to_add_3pid,
)
