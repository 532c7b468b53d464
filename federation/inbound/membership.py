"""Letting users of other servers join, knock, leave, and taking their invites.

Source: server-server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving
Rooms (Rejecting Invites)".
"""

from typing import Any

import orjson

from federation.inbound.membership_ports import MembershipCall
from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import BadJson

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"
OF_ROOMS_OF_OLD = ("1",)
"""What a server speaks that does not say which versions."""


@endpoint("GET", V1 + "/make_join/{roomId}/{userId}", Access.SERVER)
async def make_join(call: MembershipCall) -> dict[str, Any]:
    """Give a join to be signed.

    Errors: `NotFound`, `Forbidden`, `IncompatibleRoomVersion`, `UnableToAuthoriseJoin`,
    `UnableToGrantJoin`.
    """
    return await make(call, "join", call.query_list("ver") or OF_ROOMS_OF_OLD)


@endpoint("GET", V1 + "/make_knock/{roomId}/{userId}", Access.SERVER)
async def make_knock(call: MembershipCall) -> dict[str, Any]:
    """Give a knock to be signed. Errors: `NotFound`, `Forbidden`, `IncompatibleRoomVersion`."""
    return await make(call, "knock", call.query_list("ver"))


@endpoint("GET", V1 + "/make_leave/{roomId}/{userId}", Access.SERVER)
async def make_leave(call: MembershipCall) -> dict[str, Any]:
    """Give a leave to be signed. Errors: `NotFound`, `Forbidden`."""
    return await make(call, "leave", None)


async def make(
    call: MembershipCall, membership: str, versions: "list[str] | tuple[str, ...] | None"
) -> dict[str, Any]:
    """The answer to a request for a template."""
    template = await call.services.resident.template(
        call.origin, call.path["roomId"], call.path["userId"], membership, versions
    )
    return {"room_version": template.room_version, "event": template.event}


@endpoint("PUT", V2 + "/send_join/{roomId}/{eventId}", Access.SERVER)
async def send_join(call: MembershipCall) -> bytes:
    """Take a signed join; answer with the room. Errors: `InvalidParam`, `Forbidden`, `NotFound`."""
    return await admit(call, omit_members=call.query_bool("omit_members", default=False))


@endpoint("PUT", V1 + "/send_join/{roomId}/{eventId}", Access.SERVER)
async def send_join_v1(call: MembershipCall) -> bytes:
    """Take a signed join, in the form of old: the answer is an array with a status before it."""
    return b"[200," + await admit(call, omit_members=False) + b"]"


async def admit(call: MembershipCall, *, omit_members: bool) -> bytes:
    """Take a join; the JSON of the answer."""
    admission = await call.services.resident.admit(
        call.origin,
        call.path["roomId"],
        call.path["eventId"],
        call.json,
        "join",
        omit_members=omit_members,
    )
    body: dict[str, Any] = {
        "event": orjson.Fragment(admission.event),
        "state": [orjson.Fragment(pdu) for pdu in admission.state],
        "auth_chain": [orjson.Fragment(pdu) for pdu in admission.auth_chain],
        "members_omitted": admission.members_omitted,
    }
    if admission.members_omitted:
        body["servers_in_room"] = admission.servers
    return orjson.dumps(body)


@endpoint("PUT", V1 + "/send_knock/{roomId}/{eventId}", Access.SERVER)
async def send_knock(call: MembershipCall) -> dict[str, Any]:
    """Take a signed knock; tell what outsiders are told. Errors: `InvalidParam`, `Forbidden`."""
    return {"knock_room_state": await take(call, "knock")}


@endpoint("PUT", V2 + "/send_leave/{roomId}/{eventId}", Access.SERVER)
async def send_leave(call: MembershipCall) -> dict[str, Any]:
    """Take a signed leave. Errors: `InvalidParam`, `Forbidden`, `NotFound`."""
    await take(call, "leave")
    return {}


@endpoint("PUT", V1 + "/send_leave/{roomId}/{eventId}", Access.SERVER)
async def send_leave_v1(call: MembershipCall) -> list[Any]:
    """Take a signed leave, in the form of old."""
    await take(call, "leave")
    return [200, {}]


async def take(call: MembershipCall, membership: str) -> Any:
    """Take a leave or a knock."""
    return await call.services.resident.take(
        call.origin, call.path["roomId"], call.path["eventId"], call.json, membership
    )


@endpoint("PUT", V2 + "/invite/{roomId}/{eventId}", Access.SERVER)
async def invite(call: MembershipCall) -> dict[str, Any]:
    """Sign an invite of a user of this server.

    Errors: `UnsupportedRoomVersion`, `InvalidParam`, `InviteBlocked`, `NotFound`.
    """
    body = call.json
    event, version = body.get("event"), body.get("room_version")
    shown = body.get("invite_room_state", [])
    if not isinstance(event, dict) or not isinstance(version, str) or not is_list_of_objects(shown):
        raise BadJson("An invite has `event`, `room_version` and `invite_room_state`")
    return {"event": orjson.Fragment(await sign_invite(call, event, version, shown))}


@endpoint("PUT", V1 + "/invite/{roomId}/{eventId}", Access.SERVER)
async def invite_v1(call: MembershipCall) -> list[Any]:
    """Sign an invite into a room of version 1 or 2, in the form of old."""
    unsigned = call.json.get("unsigned")
    shown = unsigned.get("invite_room_state", []) if isinstance(unsigned, dict) else []
    if not is_list_of_objects(shown):
        raise BadJson("`invite_room_state` is not a list of events")
    signed = await sign_invite(call, dict(call.json), "1", shown)
    return [200, {"event": orjson.Fragment(signed)}]


async def sign_invite(
    call: MembershipCall, event: dict[str, Any], version_id: str, shown: list[Any]
) -> bytes:
    """The signed invite."""
    pdu = await call.services.elsewhere.take_invite(
        call.origin, call.path["roomId"], call.path["eventId"], version_id, event, shown
    )
    return pdu.encoded


def is_list_of_objects(value: object) -> bool:
    """Whether a value is an array of objects."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


ENDPOINTS = (
    make_join,
    make_knock,
    make_leave,
    send_join,
    send_join_v1,
    send_knock,
    send_leave,
    send_leave_v1,
    invite,
    invite_v1,
)
