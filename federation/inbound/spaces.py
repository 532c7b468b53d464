"""Spaces, for other servers.

Source: server-server API, "Spaces".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import ReadingCall
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import check_room_id


@endpoint("GET", "/_matrix/federation/v1/hierarchy/{roomId}", Access.SERVER, rate=Rate.REQUEST)
async def get_space_hierarchy(call: ReadingCall) -> Mapping[str, Any]:
    """Show a space and its children. Errors: `NotFound`."""
    view = await call.services.answering.spaces.view(
        call.origin,
        check_room_id(call.path["roomId"]),
        suggested_only=call.query_bool("suggested_only", default=False),
    )
    return {
        "room": view.room,
        "children": view.children,
        "inaccessible_children": view.inaccessible_children,
    }


ENDPOINTS = (get_space_hierarchy,)
