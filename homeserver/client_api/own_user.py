"""Paths that name a user and are open to that user only, and the rooms beside them."""

from federation.protocol.errors import Forbidden, NotFound
from federation.protocol.identifiers import check_room_id
from homeserver.http.call import Call


def check_own_user(call: Call) -> None:
    """Raise `Forbidden` unless the path's user is the one who calls."""
    if call.path["userId"] != call.user_id:
        raise Forbidden("This is another user's")


async def room_of_path(call: Call) -> int:
    """The number of the path's room. Raises `InvalidParam`, `NotFound`."""
    room = await call.services.names.rooms.find(check_room_id(call.path["roomId"]))
    if room is None:
        raise NotFound("The room is not known here")
    return room.room_nid
