"""Invites by e-mail address or telephone number, whose owner has become known.

Source: server-server API, "Third-party invites".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.membership_ports import MembershipCall, PendingInvite
from federation.inbound.request_fields import checked, require
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson
from federation.protocol.identifiers import check_room_id, check_user_id

MAX_INVITES = 50


@endpoint("PUT", "/_matrix/federation/v1/3pid/onbind", Access.PUBLIC, rate=Rate.REQUEST)
async def on_bind_third_party_identifier(call: MembershipCall) -> dict[str, Any]:
    """Take an identity server's word that an address is that of one of our users.

    The word itself changes nothing: the invites come with proofs, which the rooms check.
    Errors: `MissingParam`, `BadJson`, `InvalidParam`, `NotFound`, `Forbidden`.
    """
    body = call.json
    for parameter in ("medium", "address"):
        require(body, parameter, str)
    user_id = check_user_id(require(body, "mxid", str))
    listed = require(body, "invites", list)
    if len(listed) > MAX_INVITES:
        raise BadJson(f"'invites' has more than {MAX_INVITES} entries")
    invites = [read_invite(checked(entry, "invites", dict)) for entry in listed]
    await call.services.third_party_invites.bound(user_id, invites)
    return {}


@endpoint("PUT", "/_matrix/federation/v1/exchange_third_party_invite/{roomId}", Access.SERVER)
async def exchange_third_party_invite(call: MembershipCall) -> dict[str, Any]:
    """Invite a user of the asking server, whom one of ours has invited by an address.

    Errors: `InvalidParam`, `Forbidden`, `NotFound`.
    """
    room_id = check_room_id(call.path["roomId"])
    await call.services.third_party_invites.exchange(call.origin, room_id, call.json)
    return {}


def read_invite(fields: Mapping[str, Any]) -> PendingInvite:
    """An entry of `invites`. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    return PendingInvite(
        check_room_id(require(fields, "room_id", str)),
        check_user_id(require(fields, "sender", str)),
        require(fields, "signed", dict),
    )


ENDPOINTS = (on_bind_third_party_identifier, exchange_third_party_invite)
