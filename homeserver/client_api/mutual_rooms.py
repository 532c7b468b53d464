"""The rooms that one shares with another user.

Source: client-server API, "Mutual Rooms"; MSC2666 for the names that clients used before.
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call
from homeserver.rooms.mutual_rooms import MutualRoomsPage


@endpoint("GET", "/_matrix/client/v1/mutual_rooms", Access.USER)
async def get_mutual_rooms(call: Call) -> dict[str, Any]:
    """List the rooms that the caller and a user are in. Errors: `MissingParam`, `InvalidParam`."""
    page = await read_page(call, "from")
    body: dict[str, Any] = {"joined": page.joined, "count": page.count}
    if page.next_batch is not None:
        body["next_batch"] = page.next_batch
    return body


@endpoint("GET", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms", Access.USER)
async def get_mutual_rooms_unstable(call: Call) -> dict[str, Any]:
    """List the same with older names. Errors: `MissingParam`, `InvalidParam`."""
    page = await read_page(call, "batch_token")
    body: dict[str, Any] = {"joined": page.joined, "count": page.count}
    if page.next_batch is not None:
        body["next_batch_token"] = page.next_batch
    return body


async def read_page(call: Call, token_name: str) -> MutualRoomsPage:
    """A page from where a parameter says. Raises `MissingParam`, `InvalidParam`."""
    return await call.services.reading.mutual_rooms.page(
        viewer_of(call), call.query_str("user_id"), call.query_optional_str(token_name)
    )


ENDPOINTS = (get_mutual_rooms, get_mutual_rooms_unstable)
