"""Joining and leaving rooms, inviting, kicking and banning.

Source: client-server API, "Room membership", "Knocking on rooms", "Third-party invites".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import (
    RoomId,
    UserId,
    check_room_id,
    check_user_id,
    is_valid_server_name,
)
from homeserver.http.call import Call
from homeserver.http.request_body import optional_object, optional_str, require_str
from homeserver.rooms.address_invites import AddressInvite
from homeserver.rooms.membership import Joiner
from homeserver.users.third_party_ids import canonical_address

NOT_CONTENT = ("membership", "reason", "third_party_signed")
"""Keys of a join's body that do not go into the member event as they are."""

THIRD_PARTY_KEYS = ("id_server", "id_access_token", "medium", "address")
MAX_SERVERS = 20


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/join",
    Access.GUEST,
    rate=Rate.JOIN,
    suspended_allowed=False,
)
async def join_room_by_id(call: Call) -> Mapping[str, Any]:
    """Join a room by its ID. Errors: `Forbidden`, `NotFound`, `GuestAccessForbidden`."""
    return await join(call, check_room_id(call.path["roomId"]), ())


@endpoint(
    "POST",
    "/_matrix/client/v3/join/{roomIdOrAlias}",
    Access.GUEST,
    rate=Rate.JOIN,
    suspended_allowed=False,
)
async def join_room(call: Call) -> Mapping[str, Any]:
    """Join a room by ID or alias. Errors: `Forbidden`, `NotFound`, `GuestAccessForbidden`."""
    room_id, servers = await find_room(call)
    return await join(call, room_id, servers)


async def join(call: Call, room_id: RoomId, servers: Sequence[str]) -> Mapping[str, Any]:
    """Join a room; what else the body holds goes into the member event.

    Clients of old rely on that; the specification is silent.
    """
    extra = {key: value for key, value in call.json.items() if key not in NOT_CONTENT}
    reason = optional_str(call.json, "reason")
    await call.services.rooms.memberships.join(
        Joiner(call.user_id, is_guest=call.is_guest),
        room_id,
        servers=servers,
        extra=extra if reason is None else {**extra, "reason": reason},
        third_party_signed=optional_object(call.json, "third_party_signed"),
    )
    return {"room_id": room_id}


@endpoint(
    "POST",
    "/_matrix/client/v3/knock/{roomIdOrAlias}",
    Access.USER,
    rate=Rate.JOIN,
    suspended_allowed=False,
)
async def knock_room(call: Call) -> Mapping[str, Any]:
    """Ask to be invited to a room. Errors: `Forbidden`, `NotFound`."""
    room_id, servers = await find_room(call)
    await call.services.rooms.memberships.knock(
        Joiner(call.user_id), room_id, servers=servers, reason=optional_str(call.json, "reason")
    )
    return {"room_id": room_id}


async def find_room(call: Call) -> tuple[RoomId, Sequence[str]]:
    """The room that a path names by ID or alias, and servers that may know it.

    Raises `InvalidParam`, `NotFound`.
    """
    name = call.path["roomIdOrAlias"]
    named = dict.fromkeys([*call.query_list("via"), *call.query_list("server_name")])
    servers = [server for server in named if is_valid_server_name(server)][:MAX_SERVERS]
    if name.startswith("!"):
        return check_room_id(name), servers
    if not name.startswith("#"):
        raise InvalidParam(f"{name!r} is neither a room ID nor a room alias")
    target = await call.services.rooms.aliases.resolve(name)
    return target.room_id, [*servers, *(s for s in target.servers if s not in servers)]


@endpoint("POST", "/_matrix/client/v3/rooms/{roomId}/leave", Access.GUEST, rate=Rate.REQUEST)
async def leave_room(call: Call) -> Mapping[str, Any]:
    """Leave a room, turn an invite down or take a knock back. Errors: `Forbidden`, `NotFound`."""
    await call.services.rooms.memberships.leave(
        call.user_id, RoomId(call.path["roomId"]), optional_str(call.json, "reason")
    )
    return {}


@endpoint("POST", "/_matrix/client/v3/rooms/{roomId}/forget", Access.USER, rate=Rate.REQUEST)
async def forget_room(call: Call) -> Mapping[str, Any]:
    """Hear nothing more of a room that was left. Errors: `Unknown` (not left), `NotFound`."""
    await call.services.rooms.memberships.forget(call.user_nid, RoomId(call.path["roomId"]))
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/invite",
    Access.USER,
    rate=Rate.INVITE,
    suspended_allowed=False,
)
async def invite_user(call: Call) -> Mapping[str, Any]:
    """Invite somebody, by user ID or by address.

    Errors: `Forbidden`, `NotFound`, `InviteBlocked`, `MissingParam`, `ServerNotTrusted`.
    """
    reason = optional_str(call.json, "reason")
    if "user_id" not in call.json and any(key in call.json for key in THIRD_PARTY_KEYS):
        await call.services.address_invites.invite(
            call.user_id,
            RoomId(call.path["roomId"]),
            read_address_invite(call.json),
            {} if reason is None else {"reason": reason},
        )
        return {}
    await call.services.rooms.memberships.invite(
        call.user_id,
        RoomId(call.path["roomId"]),
        read_target(call),
        {} if reason is None else {"reason": reason},
    )
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/kick",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def kick(call: Call) -> Mapping[str, Any]:
    """Make somebody leave. Errors: `Forbidden`, `NotFound`."""
    room_id, target, reason = read_moderation(call)
    await call.services.rooms.memberships.kick(call.user_id, room_id, target, reason)
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/ban",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def ban(call: Call) -> Mapping[str, Any]:
    """Keep somebody out. Errors: `Forbidden`, `NotFound`."""
    room_id, target, reason = read_moderation(call)
    await call.services.rooms.memberships.ban(call.user_id, room_id, target, reason)
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/rooms/{roomId}/unban",
    Access.USER,
    rate=Rate.REQUEST,
    suspended_allowed=False,
)
async def unban(call: Call) -> Mapping[str, Any]:
    """Lift a ban. Errors: `Forbidden`, `NotFound`, `BadState`."""
    room_id, target, reason = read_moderation(call)
    await call.services.rooms.memberships.unban(call.user_id, room_id, target, reason)
    return {}


def read_moderation(call: Call) -> tuple[RoomId, UserId, str | None]:
    """Room, user and reason of a request to kick, ban or unban."""
    return RoomId(call.path["roomId"]), read_target(call), optional_str(call.json, "reason")


def read_address_invite(body: Mapping[str, Any]) -> AddressInvite:
    """Whom to invite by address. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    medium = require_str(body, "medium")
    return AddressInvite(
        medium,
        canonical_address(medium, require_str(body, "address")),
        require_str(body, "id_server"),
        require_str(body, "id_access_token"),
    )


def read_target(call: Call) -> UserId:
    """The user whom a request is about. Raises `MissingParam`, `InvalidParam`."""
    return check_user_id(require_str(call.json, "user_id"))


ENDPOINTS = (
    join_room_by_id,
    join_room,
    knock_room,
    leave_room,
    forget_room,
    invite_user,
    kick,
    ban,
    unban,
)
