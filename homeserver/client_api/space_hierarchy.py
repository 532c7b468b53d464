"""The rooms of a space and of the spaces in it.

Source: client-server API, "Discovering rooms within spaces".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call
from homeserver.rooms.spaces import DEFAULT_DEPTH, DEFAULT_LIMIT, MAX_LIMIT, HierarchyRequest


@endpoint(
    "GET",
    "/_matrix/client/v1/rooms/{roomId}/hierarchy",
    Access.USER,
    rate=Rate.REQUEST,
    aliases=("/_matrix/client/unstable/org.matrix.msc2946/rooms/{roomId}/hierarchy",),
)
async def get_space_hierarchy(call: Call) -> dict[str, Any]:
    """Walk a space's tree, page by page. Errors: `Forbidden`, `InvalidParam`."""
    request = HierarchyRequest(
        call.path["roomId"],
        call.query_bool("suggested_only", default=False),
        call.query_int("max_depth", DEFAULT_DEPTH, maximum=DEFAULT_DEPTH),
        call.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
        call.query_optional_str("from"),
    )
    page = await call.services.reading.spaces.page(viewer_of(call), request)
    body: dict[str, Any] = {"rooms": page.rooms}
    if page.next_batch is not None:
        body["next_batch"] = page.next_batch
    return body


ENDPOINTS = (get_space_hierarchy,)
