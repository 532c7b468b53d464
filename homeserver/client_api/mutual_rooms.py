"""The rooms that one shares with another user.

Source: client-server API, "Mutual Rooms".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v1/mutual_rooms", Access.USER)
async def get_mutual_rooms(call: Call) -> dict[str, Any]:
    """List the rooms that the caller and a user are in. Errors: `MissingParam`, `InvalidParam`."""
    page = await call.services.reading.mutual_rooms.page(
        viewer_of(call), call.query_str("user_id"), call.query_optional_str("from")
    )
    body: dict[str, Any] = {"joined": page.joined, "count": page.count}
    if page.next_batch is not None:
        body["next_batch"] = page.next_batch
    return body


ENDPOINTS = (get_mutual_rooms,)
