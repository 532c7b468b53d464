"""Rooms in full, for clients of old and for those that peek.

Source: client-server API, `GET /initialSync`, `GET /rooms/{roomId}/initialSync`.
"""

from typing import Any

import orjson

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import event_array, viewer_of
from homeserver.http.call import Call
from homeserver.rooms.initial_sync import DEFAULT_LIMIT, MAX_LIMIT, RoomCopy
from homeserver.sync.response import account_data_events, presence_event


@endpoint("GET", "/_matrix/client/v3/initialSync", Access.USER)
async def initial_sync(call: Call) -> dict[str, Any]:
    """Show everything that the caller has. Errors: `InvalidParam`."""
    copy = await call.services.reading.initial_sync.account(
        viewer_of(call),
        call.query_int("limit", DEFAULT_LIMIT, maximum=MAX_LIMIT),
        with_left=call.query_bool("archived", default=False),
    )
    shown = call.services.push_rules.show_account_data(
        call.user_nid, call.user_id, copy.account_data, complete=True
    )
    now_ms = call.services.clock()
    return {
        "end": copy.end,
        "rooms": [room_info(room) for room in copy.rooms],
        "account_data": account_data_events(shown),
        "presence": [presence_event(presence, now_ms) for presence in copy.presence],
    }


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/initialSync", Access.GUEST)
async def room_initial_sync(call: Call) -> dict[str, Any]:
    """Show a room: its state and latest messages. Errors: `Forbidden`, `InvalidParam`."""
    room, presences = await call.services.reading.initial_sync.room(
        viewer_of(call),
        call.path["roomId"],
        call.query_int("limit", DEFAULT_LIMIT, maximum=MAX_LIMIT),
    )
    now_ms = call.services.clock()
    presence = [presence_event(presence, now_ms) for presence in presences]
    return room_info(room) | {"presence": presence, "receipts": []}


def room_info(room: RoomCopy) -> dict[str, Any]:
    """A room in the shape of `RoomInfo`."""
    info: dict[str, Any] = {"room_id": room.room_id}
    if room.membership is not None:
        info["membership"] = room.membership
    if room.membership == "invite":
        if room.invite is not None:
            info["invite"] = orjson.Fragment(room.invite)
        return info
    return info | {
        "messages": {
            "start": room.start,
            "end": room.end,
            "chunk": event_array(room.messages),
        },
        "state": event_array(room.state),
        "visibility": "public" if room.is_published else "private",
        "account_data": account_data_events(room.account_data),
    }


ENDPOINTS = (initial_sync, room_initial_sync)
