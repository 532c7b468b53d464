"""The rooms that a client shows, and what happens in them, as far as it wants to know.

Source: MSC4186 (simplified sliding sync), under the path that clients call. What the proposal has
in the body by now is taken from there too.
"""

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.errors import InvalidParam
from homeserver.client_api.sync import PRESENCES
from homeserver.http.call import Call
from homeserver.http.request_body import optional_int, optional_str
from homeserver.rooms.viewer import Viewer
from homeserver.sync.sliding.pos import parse_pos

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


@endpoint("POST", PATH, Access.GUEST, long_poll=True)
async def sliding_sync(call: Call) -> bytes:
    """Tell what is new in the rooms of a connection; wait for something to happen.

    Errors: `UnknownPos`, `BadJson`, `InvalidParam`, `MissingParam`.
    """
    request = call.services.sliding_sync.parse(call.body, call.json)
    pos = call.query_optional_str("pos") or optional_str(call.json, "pos")
    viewer = Viewer(call.user_id, call.user_nid, call.device_nid)
    presence = call.services.personal.presence
    async with presence.syncing(call.user_id, call.user_nid, call.device_nid, read_presence(call)):
        return await call.services.sliding_sync.sync(
            viewer, request, parse_pos(pos) if pos else None, read_timeout(call)
        )


def read_timeout(call: Call) -> int:
    """How long to wait, in milliseconds. Raises `BadJson`, `InvalidParam`."""
    in_query = call.query_int("timeout", None)
    in_body = optional_int(call.json, "timeout") if in_query is None else in_query
    if in_body is not None and in_body < 0:
        raise InvalidParam("'timeout' must not be negative")
    return in_body or 0


def read_presence(call: Call) -> str:
    """The presence that the client wants. Raises `BadJson`, `InvalidParam`."""
    in_body = optional_str(call.json, "set_presence")
    if in_body is not None and in_body not in PRESENCES:
        raise InvalidParam(f"'set_presence' must be one of {', '.join(PRESENCES)}")
    return call.query_choice("set_presence", PRESENCES, in_body or "online")


ENDPOINTS = (sliding_sync,)
