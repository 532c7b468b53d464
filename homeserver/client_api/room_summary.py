"""A room as those see it who are not in it.

Source: client-server API, `GET /room_summary/{roomIdOrAlias}`.
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import check_room_id
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call

MAX_SERVERS = 10


UNSTABLE = "/_matrix/client/unstable/im.nheko.summary"
PREFIXED = ("room_version", "encryption")
"""The fields that have a prefix below the unstable path."""


@endpoint(
    "GET",
    "/_matrix/client/v1/room_summary/{roomIdOrAlias}",
    Access.OPTIONAL,
    rate=Rate.REQUEST,
)
async def get_room_summary(call: Call) -> dict[str, Any]:
    """Tell of a room, to strangers too if its doors are open. Errors: `NotFound`."""
    return await summary_of(call)


@endpoint(
    "GET",
    f"{UNSTABLE}/summary/{{roomIdOrAlias}}",
    Access.OPTIONAL,
    rate=Rate.REQUEST,
    aliases=(f"{UNSTABLE}/rooms/{{roomIdOrAlias}}/summary",),
)
async def get_room_summary_of_before(call: Call) -> dict[str, Any]:
    """Tell the same as clients of before v1.15 read it (MSC3266). Errors: `NotFound`."""
    summary = await summary_of(call)
    prefixed = {f"im.nheko.summary.{k}": summary[k] for k in PREFIXED if k in summary}
    return summary | prefixed


async def summary_of(call: Call) -> dict[str, Any]:
    """What is told of the room that a path names by ID or alias. Raises `NotFound`."""
    name, servers = call.path["roomIdOrAlias"], call.query_list("via")[:MAX_SERVERS]
    if name.startswith("#"):
        target = await call.services.rooms.aliases.resolve(name)
        name, servers = target.room_id, [*servers, *target.servers]
    viewer = None if call.requester is None else viewer_of(call)
    return await call.services.reading.summaries.get(viewer, check_room_id(name), servers)


ENDPOINTS = (get_room_summary, get_room_summary_of_before)
