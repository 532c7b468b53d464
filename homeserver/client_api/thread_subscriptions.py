"""Following threads, and finding out which ones the user follows.

Source: MSC4306; MSC4308, "Companion endpoint for backpaginating thread subscription changes".
"""

import re
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam, MissingParam
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str

SUBSCRIPTION = (
    "/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{threadRootId}/subscription"
)
DEFAULT_LIMIT = 100
MAX_LIMIT = 500
NEWEST = 2**62
TOKEN = re.compile(r"s?([0-9]{1,18})(?:_[0-9_]*)?")
"""A position; that of a token of sliding sync counts too."""


@endpoint("GET", SUBSCRIPTION, Access.USER)
async def get_thread_subscription(call: Call) -> dict[str, Any]:
    """Show the caller's subscription to a thread. Errors: `NotFound`."""
    subscription = await call.services.thread_subscriptions.find(
        viewer_of(call), call.path["roomId"], call.path["threadRootId"]
    )
    return {"automatic": subscription.is_automatic}


@endpoint("PUT", SUBSCRIPTION, Access.USER, rate=Rate.REQUEST)
async def subscribe_to_thread(call: Call) -> dict[str, Any]:
    """Subscribe to a thread; automatically where the event that made the client do it is named.

    Errors: `NotFound`, `BadJson`, `NotInThread`, `ConflictingUnsubscription`.
    """
    await call.services.thread_subscriptions.subscribe(
        viewer_of(call),
        call.path["roomId"],
        call.path["threadRootId"],
        optional_str(call.json, "automatic"),
    )
    return {}


@endpoint("DELETE", SUBSCRIPTION, Access.USER, rate=Rate.REQUEST)
async def unsubscribe_from_thread(call: Call) -> dict[str, Any]:
    """End the caller's subscription to a thread. Errors: `NotFound`."""
    await call.services.thread_subscriptions.unsubscribe(
        viewer_of(call), call.path["roomId"], call.path["threadRootId"]
    )
    return {}


@endpoint("GET", "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions", Access.USER)
async def get_thread_subscriptions(call: Call) -> dict[str, Any]:
    """Page back through what changed of the caller's subscriptions.

    Errors: `MissingParam`, `InvalidParam`.
    """
    if call.query_optional_str("dir") is None:
        raise MissingParam("Missing parameter 'dir'")
    call.query_choice("dir", ("b",), "b")
    return await call.services.thread_subscriptions.page(
        call.user_nid,
        query_position(call, "to", 0),
        query_position(call, "from", NEWEST),
        call.query_int("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
    )


def query_position(call: Call, name: str, default: int) -> int:
    """The position that a token in the query names. Raises `InvalidParam`."""
    token = call.query_optional_str(name)
    if token is None:
        return default
    match = TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam(f"{name!r} is not a token that this server gave out")
    return int(match[1])


ENDPOINTS = (
    get_thread_subscription,
    subscribe_to_thread,
    unsubscribe_from_thread,
    get_thread_subscriptions,
)
