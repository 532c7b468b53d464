"""A room as those see it who are not in it.

Source: client-server API, `GET /room_summary/{roomIdOrAlias}`.
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import check_room_id
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call

MAX_SERVERS = 10


@endpoint(
    "GET",
    "/_matrix/client/v1/room_summary/{roomIdOrAlias}",
    Access.OPTIONAL,
    rate=Rate.REQUEST,
    aliases=(
        "/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}",
        "/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary",
    ),
)
async def get_room_summary(call: Call) -> dict[str, Any]:
    """Tell of a room, to strangers too if its doors are open. Errors: `NotFound`."""
    name, servers = call.path["roomIdOrAlias"], call.query_list("via")[:MAX_SERVERS]
    if name.startswith("#"):
        target = await call.services.rooms.aliases.resolve(name)
        name, servers = target.room_id, [*servers, *target.servers]
    viewer = None if call.requester is None else viewer_of(call)
    return await call.services.reading.summaries.get(viewer, check_room_id(name), servers)


ENDPOINTS = (get_room_summary,)
