"""The stream of everything that happens to a user.

Source: client-server API, "Syncing".
"""

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.filters import NO_FILTER, SyncFilter
from homeserver.http.call import Call
from homeserver.rooms.viewer import Viewer
from homeserver.sync.request import SyncRequest
from homeserver.sync.token import parse_sync_token

PRESENCES = ("online", "offline", "unavailable")


@endpoint("GET", "/_matrix/client/v3/sync", Access.GUEST, long_poll=True)
async def sync(call: Call) -> bytes:
    """Tell what happened since a token, or everything; wait for something to happen.

    Errors: `InvalidParam` for a broken token or filter, `NotFound` for an unknown filter.
    """
    since = call.query_optional_str("since")
    request = SyncRequest(
        Viewer(call.user_id, call.user_nid, call.device_nid),
        parse_sync_token(since) if since is not None else None,
        call.query_int("timeout", 0, minimum=0),
        await read_filter(call, call.query_optional_str("filter")),
        call.query_bool("full_state", default=False),
        read_state_after(call),
    )
    set_presence = call.query_choice("set_presence", PRESENCES, "online")
    presence = call.services.personal.presence
    async with presence.syncing(call.user_id, call.user_nid, call.device_nid, set_presence):
        return await call.services.sync.sync(request)


def read_state_after(call: Call) -> str | None:
    """Under which name the client wants the state after the timeline, if it does."""
    if call.query_bool("use_state_after"):
        return "state_after"
    if call.query_bool("org.matrix.msc4222.use_state_after"):
        return "org.matrix.msc4222.state_after"
    return None


async def read_filter(call: Call, text: str | None) -> SyncFilter:
    """The filter of the query: the ID of one that was uploaded, or JSON."""
    if text is None:
        return NO_FILTER
    filters = call.services.personal.filters
    if text.startswith("{"):
        return filters.parse_inline(text)
    return await filters.parsed(call.user_nid, text)


ENDPOINTS = (sync,)
