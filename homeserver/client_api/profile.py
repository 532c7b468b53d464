"""Profiles.

Source: client-server API, "Profiles"; "Guest Access" for what guests may change.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import GuestAccessForbidden, MissingParam
from homeserver.client_api.own_user import check_own_user
from homeserver.http.call import Call
from storage.profiles import DISPLAYNAME

FIELD = "/_matrix/client/v3/profile/{userId}/{keyName}"
UNSTABLE_PROFILE = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}"
UNSTABLE_FIELD = f"{UNSTABLE_PROFILE}/{{keyName}}"


@endpoint("GET", "/_matrix/client/v3/profile/{userId}", Access.PUBLIC, aliases=(UNSTABLE_PROFILE,))
async def get_user_profile(call: Call) -> Mapping[str, Any]:
    """Show a whole profile. Errors: `NotFound`, `Forbidden`."""
    return await call.services.personal.profiles.profile(call.path["userId"])


@endpoint("GET", FIELD, Access.PUBLIC, aliases=(UNSTABLE_FIELD,))
async def get_profile_field(call: Call) -> Mapping[str, Any]:
    """Show one field of a profile. Errors: `NotFound`, `Forbidden`."""
    return await call.services.personal.profiles.field(call.path["userId"], call.path["keyName"])


@endpoint(
    "PUT",
    FIELD,
    Access.GUEST,
    rate=Rate.REQUEST,
    suspended_allowed=False,
    aliases=(UNSTABLE_FIELD,),
)
async def set_profile_field(call: Call) -> dict[str, Any]:
    """Set a field of one's own profile.

    Errors: `Forbidden`, `MissingParam`, `InvalidParam`, `BadJson`, `KeyTooLarge`,
    `ProfileTooLarge`.
    """
    field = check_may_change(call)
    if field not in call.json:
        raise MissingParam(f"Missing parameter '{field}'")
    await call.services.personal.profiles.set_field(
        call.user_id, call.user_nid, field, call.json[field]
    )
    return {}


@endpoint(
    "DELETE",
    FIELD,
    Access.GUEST,
    rate=Rate.REQUEST,
    suspended_allowed=False,
    aliases=(UNSTABLE_FIELD,),
)
async def delete_profile_field(call: Call) -> dict[str, Any]:
    """Remove a field of one's own profile. Errors: `Forbidden`, `InvalidParam`, `KeyTooLarge`."""
    field = check_may_change(call)
    await call.services.personal.profiles.delete_field(call.user_id, call.user_nid, field)
    return {}


def check_may_change(call: Call) -> str:
    """The path's field. Raises `Forbidden` or `GuestAccessForbidden` for other users' fields."""
    check_own_user(call)
    field = call.path["keyName"]
    if call.is_guest and field != DISPLAYNAME:
        raise GuestAccessForbidden("Guests may change their display name only")
    return field


ENDPOINTS = (get_user_profile, get_profile_field, set_profile_field, delete_profile_field)
