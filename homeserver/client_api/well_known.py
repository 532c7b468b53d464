"""How clients and servers find this server, and whom people turn to.

Source: client-server API, "Well-known URIs"; server-server API, "Resolving server names".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import NotFound
from homeserver.calls.transports import livekit_transports
from homeserver.config.sections.well_known import SupportContact, WellKnown
from homeserver.http.call import Call

RTC_FOCI = "org.matrix.msc4143.rtc_foci"
"""Ways to be in a call, for clients of before there was an endpoint for them."""


@endpoint("GET", "/.well-known/matrix/client", Access.PUBLIC)
async def get_wellknown(call: Call) -> dict[str, Any]:
    """Tell clients where the server is. Errors: `NotFound` where another server does."""
    settings = call.services.settings
    server = settings.server
    base_url = server.public_baseurl or f"https://{server.name}"
    known: dict[str, Any] = {"m.homeserver": {"base_url": base_url}}
    foci = livekit_transports(settings.calls)
    if foci:
        known[RTC_FOCI] = foci
    return known | served(call).client_extra


@endpoint("GET", "/.well-known/matrix/server", Access.PUBLIC)
async def get_wellknown_server(call: Call) -> dict[str, Any]:
    """Tell other servers where this one is. Errors: `NotFound` where it is at its own name."""
    delegated_server = served(call).server
    if not delegated_server:
        raise NotFound("No server discovery information is available")
    return {"m.server": delegated_server}


@endpoint("GET", "/.well-known/matrix/support", Access.PUBLIC)
async def get_wellknown_support(call: Call) -> dict[str, Any]:
    """Tell people whom to turn to. Errors: `NotFound` where nobody is named."""
    well_known = served(call)
    found: dict[str, Any] = {}
    if well_known.support_contacts:
        found["contacts"] = [render_contact(contact) for contact in well_known.support_contacts]
    if well_known.support_page:
        found["support_page"] = well_known.support_page
    if not found:
        raise NotFound("No support information is available")
    return found


@endpoint("GET", "/.well-known/matrix/policy_server", Access.PUBLIC)
async def get_wellknown_policy(call: Call) -> dict[str, Any]:
    """Tell the key of the policy server at this name. Errors: `NotFound` where there is none."""
    key = served(call).policy_server_key
    if not key:
        raise NotFound("No policy server information is available")
    return {"public_keys": {"ed25519": key}}


def served(call: Call) -> WellKnown:
    """What is to be answered here. Raises `NotFound` where another web server does that."""
    well_known = call.services.settings.well_known
    if not well_known.serve:
        raise NotFound("This server does not answer for its domain")
    return well_known


def render_contact(contact: SupportContact) -> dict[str, str]:
    """A contact as the specification shows it."""
    fields = {
        "role": contact.role,
        "matrix_id": contact.matrix_id,
        "email_address": contact.email_address,
    }
    return {name: value for name, value in fields.items() if value}


ENDPOINTS = (
    get_wellknown,
    get_wellknown_server,
    get_wellknown_support,
    get_wellknown_policy,
)
