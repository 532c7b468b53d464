"""What the endpoints that read rooms share: the viewer, tokens, filters, lists of events."""

from collections.abc import Sequence

import orjson

from federation.protocol.canonical_json import decode
from federation.protocol.filters import (
    NO_ROOM_EVENT_FILTER,
    RoomEventFilter,
    parse_room_event_filter,
)
from homeserver.http.call import Call
from homeserver.rooms.history_token import HistoryPoint, parse_point
from homeserver.rooms.viewer import Viewer


def viewer_of(call: Call) -> Viewer:
    """Who looks, and at which device."""
    return Viewer(call.user_id, call.user_nid, call.device_nid)


def query_point(call: Call, name: str) -> HistoryPoint | None:
    """The place that a token in the query names; an empty one counts as none.

    Raises `InvalidParam`.
    """
    token = call.query_optional_str(name)
    return parse_point(token) if token else None


def query_room_event_filter(call: Call) -> RoomEventFilter:
    """The `filter` of the query, which is JSON. Raises `NotJson`, `BadJson`, `InvalidParam`."""
    text = call.query_optional_str("filter")
    return parse_room_event_filter(decode(text.encode())) if text else NO_ROOM_EVENT_FILTER


def event_array(events: Sequence[bytes]) -> orjson.Fragment:
    """Events that are JSON already, as an array in a response."""
    return orjson.Fragment(b"[%b]" % b",".join(events))
