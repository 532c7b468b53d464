"""How clients and servers find this server, and whom people turn to.

Source: client-server API, "Well-known URIs"; server-server API, "Resolving server names".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import NotFound
from homeserver.client_api.discovery import Contact
from homeserver.http.call import Call


@endpoint("GET", "/.well-known/matrix/client", Access.PUBLIC)
async def get_wellknown(call: Call) -> dict[str, Any]:
    """Tell clients where the server is. Errors: `NotFound` where that is not configured."""
    discovery = call.services.discovery
    if discovery.client_base_url is None:
        raise NotFound("No client discovery information is available")
    found: dict[str, Any] = {
        **discovery.client_extra,
        "m.homeserver": {"base_url": discovery.client_base_url},
    }
    if discovery.identity_server_base_url is not None:
        found["m.identity_server"] = {"base_url": discovery.identity_server_base_url}
    return found


@endpoint("GET", "/.well-known/matrix/server", Access.PUBLIC)
async def get_wellknown_server(call: Call) -> dict[str, Any]:
    """Tell other servers where this one is. Errors: `NotFound` where it is not elsewhere."""
    delegated_server = call.services.discovery.delegated_server
    if delegated_server is None:
        raise NotFound("No server discovery information is available")
    return {"m.server": delegated_server}


@endpoint("GET", "/.well-known/matrix/support", Access.PUBLIC)
async def get_wellknown_support(call: Call) -> dict[str, Any]:
    """Tell people whom to turn to. Errors: `NotFound` where nobody is named."""
    discovery = call.services.discovery
    found: dict[str, Any] = {}
    if discovery.contacts:
        found["contacts"] = [render_contact(contact) for contact in discovery.contacts]
    if discovery.support_page is not None:
        found["support_page"] = discovery.support_page
    if not found:
        raise NotFound("No support information is available")
    return found


@endpoint("GET", "/.well-known/matrix/policy_server", Access.PUBLIC)
async def get_wellknown_policy(call: Call) -> dict[str, Any]:
    """Tell the keys of the policy server. Errors: `NotFound` where there is none."""
    keys = call.services.discovery.policy_server_keys
    if not keys:
        raise NotFound("No policy server information is available")
    return {"public_keys": keys}


def render_contact(contact: Contact) -> dict[str, str]:
    """A contact as the specification shows it."""
    fields = {
        "role": contact.role,
        "matrix_id": contact.matrix_id,
        "email_address": contact.email_address,
    }
    return {name: value for name, value in fields.items() if value is not None}


ENDPOINTS = (
    get_wellknown,
    get_wellknown_server,
    get_wellknown_support,
    get_wellknown_policy,
)
