"""Signing events as the policy server of rooms.

Source: server-server API, "Policy Servers".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import ReadingCall
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import Unrecognized


@endpoint("POST", "/_matrix/policy/v1/sign", Access.SERVER, rate=Rate.REQUEST)
async def ask_policy_server_to_sign(call: ReadingCall) -> Mapping[str, Any]:
    """Sign an event that is no nuisance.

    Errors: `Unrecognized` (this is no policy server), `NotFound`, `Forbidden`, `BadJson`.
    """
    policy = call.services.answering.policy
    if policy is None:
        raise Unrecognized("This server is no policy server")
    return await policy.sign(call.origin, call.json)


ENDPOINTS = (ask_policy_server_to_sign,)
