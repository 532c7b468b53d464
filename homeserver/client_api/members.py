"""Who is in a room.

Source: client-server API, `GET /rooms/{roomId}/members`, `GET /rooms/{roomId}/joined_members`.
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import event_array, query_point, viewer_of
from homeserver.http.call import Call
from storage.changes import Membership

WORDS = tuple(membership.word for membership in Membership)


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/members", Access.GUEST)
async def get_members_by_room(call: Call) -> dict[str, Any]:
    """List the member events of a room. Errors: `Forbidden`, `InvalidParam`."""
    events = await call.services.reading.members.members(
        viewer_of(call),
        call.path["roomId"],
        at=query_point(call, "at"),
        membership=query_membership(call, "membership"),
        not_membership=query_membership(call, "not_membership"),
    )
    return {"chunk": event_array(events)}


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/joined_members", Access.USER)
async def get_joined_members_by_room(call: Call) -> dict[str, Any]:
    """List the joined members of a room with their names and avatars. Errors: `Forbidden`."""
    return {
        "joined": await call.services.reading.members.joined(viewer_of(call), call.path["roomId"])
    }


def query_membership(call: Call, name: str) -> Membership | None:
    """A membership in the query. Raises `InvalidParam`."""
    word = call.query_choice(name, WORDS)
    return None if word is None else Membership.of(word)


ENDPOINTS = (get_members_by_room, get_joined_members_by_room)
