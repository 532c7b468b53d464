"""Calls by way of the homeserver: where LiveKit is, and tokens for it.

Source: MSC4143, "Discovery of transports"; MSC4195.
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, Forbidden, MissingParam
from federation.protocol.identifiers import check_server_name
from homeserver.calls.calls import Calls
from homeserver.calls.requests import MAX_LENGTH, Member, Place
from homeserver.calls.transports import livekit_transports
from homeserver.http.call import Call
from homeserver.http.request_body import optional_object, optional_str, require_str

V1 = "/_matrix/client/v1/rtc/livekit"
UNSTABLE = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit"


@endpoint(
    "GET",
    "/_matrix/client/v1/rtc/transports",
    Access.GUEST,
    rate=Rate.REQUEST,
    aliases=("/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",),
)
async def get_rtc_transports(call: Call) -> dict[str, Any]:
    """List the ways to be in a call."""
    return {"rtc_transports": livekit_transports(call.services.settings.calls)}


@endpoint(
    "POST",
    f"{V1}/get_token",
    Access.GUEST,
    rate=Rate.CALL,
    aliases=(f"{UNSTABLE}/get_token",),
)
async def get_livekit_token(call: Call) -> dict[str, Any]:
    """Give out a token for LiveKit, here or of another homeserver.

    Errors: `Forbidden` (not in the room), `InvalidParam` (no such LiveKit server here), `Unknown`
    (LiveKit or the other homeserver does not do it).
    """
    calls, url = calls_of(call), optional_str(call.json, "url")
    own_name = call.services.settings.server.name
    server = check_server_name(optional_str(call.json, "server_name") or own_name)
    place = read_place(call)
    return {"jwt": await calls.homeserver_tokens.get_token(call.user_id, server, url, place)}


@endpoint(
    "POST",
    f"{V1}/delegate_delayed_leave",
    Access.GUEST,
    rate=Rate.CALL,
    aliases=(f"{UNSTABLE}/delegate_delayed_leave",),
)
async def delegate_delayed_leave(call: Call) -> dict[str, Any]:
    """Look after the delayed event by which the user leaves a call.

    Errors: `InvalidParam` (no such delayed event of the user's in the room, no such LiveKit
    server).
    """
    await calls_of(call).homeserver_tokens.delegate_delayed_leave(
        call.user_id,
        optional_str(call.json, "url"),
        read_place(call),
        require_short(call.json, "delay_id"),
    )
    return {}


def calls_of(call: Call) -> Calls:
    """The services of calls; these endpoints are served only where there are some."""
    calls = call.services.calls
    assert calls is not None  # noqa: S101 - see the docstring
    return calls


def read_place(call: Call) -> Place:
    """Where the user wants to be. Raises `MissingParam`, `BadJson`, `Forbidden`."""
    body = call.json
    return Place(require_short(body, "room_id"), require_short(body, "slot_id"), read_member(call))


def read_member(call: Call) -> Member:
    """The membership: `member_id`, or `member` with a device as MSC4195 had it before."""
    body = call.json
    former = optional_object(body, "member")
    if former is None:
        return Member(require_short(body, "member_id"), None)
    claimed = optional_str(former, "claimed_user_id")
    if claimed not in (None, call.user_id):
        raise Forbidden("You may only ask for yourself")
    return Member(require_short(former, "id"), require_short(former, "claimed_device_id"))


def require_short(body: dict[str, Any], key: str) -> str:
    """A required text that is not empty. Raises `MissingParam`, `BadJson`."""
    text = require_str(body, key)
    if not text:
        raise MissingParam(f"'{key}' must not be empty")
    if len(text) > MAX_LENGTH:
        raise BadJson(f"'{key}' is too long")
    return text


ENDPOINTS = (get_rtc_transports, get_livekit_token, delegate_delayed_leave)
