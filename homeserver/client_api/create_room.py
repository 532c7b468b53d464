"""Creating rooms.

Source: client-server API, "Creation".
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, InvalidParam, MatrixError
from federation.protocol.identifiers import RoomId, UserId, check_user_id
from federation.protocol.room_versions import get_room_version
from homeserver.client_api.membership import read_address_invite
from homeserver.http.call import Call
from homeserver.http.request_body import (
    optional_bool,
    optional_object,
    optional_object_list,
    optional_str,
    optional_str_list,
    require_object,
    require_str,
)
from homeserver.rooms.address_invites import AddressInvite
from homeserver.rooms.presets import RoomRequest, StateEvent, find_preset

log = logging.getLogger("hearth.membership")

MAX_INVITES = 500
MAX_ADDRESSES = 20
MAX_INITIAL_STATE = 500
VISIBILITIES = ("public", "private")


@endpoint(
    "POST",
    "/_matrix/client/v3/createRoom",
    Access.USER,
    rate=Rate.ROOM_CREATION,
    max_body_bytes=1_048_576,
    suspended_allowed=False,
)
async def create_room(call: Call) -> Mapping[str, Any]:
    """Create a room.

    Errors: `RoomInUse`, `Exclusive`, `InvalidRoomState`, `UnsupportedRoomVersion`, `InviteBlocked`,
    `Forbidden`.
    """
    version_id = optional_str(call.json, "room_version")
    version = get_room_version(
        call.services.settings.rooms.default_version if version_id is None else version_id
    )
    request = read_room_request(call.json)
    address_invites = read_address_invites(call)
    room_id = await call.services.rooms.creation.create(
        call.user_id,
        request,
        version,
        is_admin=call.is_admin,
        service_id=call.service_id,
    )
    await invite_addresses(call, room_id, address_invites)
    return {"room_id": room_id}


def read_address_invites(call: Call) -> list[AddressInvite]:
    """Whom to invite by address.

    Raises `MissingParam`, `BadJson`, `InvalidParam`, `ServerNotTrusted`.
    """
    listed = optional_object_list(call.json, "invite_3pid") or []
    if len(listed) > MAX_ADDRESSES:
        raise InvalidParam(f"At most {MAX_ADDRESSES} addresses can be invited at once")
    invites = [read_address_invite(one) for one in listed]
    for invite in invites:
        call.services.address_invites.check_trusted(invite)
    return invites


async def invite_addresses(call: Call, room_id: RoomId, invites: Sequence[AddressInvite]) -> None:
    """Invite to the new room; what fails is logged, because the room is there."""
    is_direct = optional_bool(call.json, "is_direct")
    extra = {"is_direct": True} if is_direct else {}
    for invite in invites:
        try:
            await call.services.address_invites.invite(call.user_id, room_id, invite, extra)
        except MatrixError as error:
            log.warning("%s could not invite somebody to %s: %s", call.user_id, room_id, error)


def read_room_request(body: Mapping[str, Any]) -> RoomRequest:
    """What the body of a request asks for. Raises `BadJson`, `InvalidParam`, `Forbidden`."""
    visibility = optional_str(body, "visibility")
    if visibility is not None and visibility not in VISIBILITIES:
        raise InvalidParam("'visibility' must be public or private")
    published = visibility == "public"
    return RoomRequest(
        preset=find_preset(optional_str(body, "preset"), published=published),
        published=published,
        alias_localpart=read_alias_localpart(body),
        name=optional_str(body, "name"),
        topic=optional_str(body, "topic"),
        invite=read_invitees(body),
        is_direct=optional_bool(body, "is_direct"),
        creation_content=optional_object(body, "creation_content") or {},
        initial_state=read_initial_state(body),
        power_levels=optional_object(body, "power_level_content_override") or {},
    )


def read_alias_localpart(body: Mapping[str, Any]) -> str | None:
    """The part of the wanted alias between sigil and colon. Raises `InvalidParam`."""
    localpart = optional_str(body, "room_alias_name")
    if localpart is not None and (not localpart or ":" in localpart):
        raise InvalidParam("'room_alias_name' must be a local part, without sigil and server name")
    return localpart


def read_invitees(body: Mapping[str, Any]) -> list[UserId]:
    """Whom to invite, each once. Raises `InvalidParam`."""
    listed = dict.fromkeys(optional_str_list(body, "invite") or ())
    if len(listed) > MAX_INVITES:
        raise InvalidParam(f"At most {MAX_INVITES} users can be invited at once")
    return [check_user_id(user_id) for user_id in listed]


def read_initial_state(body: Mapping[str, Any]) -> list[StateEvent]:
    """The state events that are asked for. Raises `BadJson`."""
    listed = optional_object_list(body, "initial_state") or []
    if len(listed) > MAX_INITIAL_STATE:
        raise BadJson(f"'initial_state' may have at most {MAX_INITIAL_STATE} events")
    return [
        StateEvent(
            require_str(event, "type"),
            optional_str(event, "state_key") or "",
            require_object(event, "content"),
        )
        for event in listed
    ]


ENDPOINTS = (create_room,)
