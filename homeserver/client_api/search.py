"""Searching what was said.

Source: client-server API, "Server Side Search".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from federation.protocol.filters import parse_room_event_filter
from homeserver.client_api.reading import viewer_of
from homeserver.http.call import Call
from homeserver.http.request_body import (
    optional_bool,
    optional_int,
    optional_object,
    optional_object_list,
    optional_str,
    optional_str_list,
    require_object,
    require_str,
)
from homeserver.rooms.search import KIND_OF_KEY, MAX_CONTEXT, ContextWanted, SearchRequest

GROUP_KEYS = ("room_id", "sender")
ORDERS = ("rank", "recent")


@endpoint("POST", "/_matrix/client/v3/search", Access.USER, rate=Rate.SEARCH)
async def search(call: Call) -> dict[str, Any]:
    """Search events by their text. Errors: `MissingParam`, `BadJson`, `InvalidParam`."""
    categories = require_object(call.json, "search_categories")
    criteria = optional_object(categories, "room_events")
    if criteria is None:
        return {"search_categories": {}}
    request = read_criteria(criteria, call.query_optional_str("next_batch"))
    found = await call.services.reading.search.room_events(viewer_of(call), request)
    return {"search_categories": {"room_events": found}}


def read_criteria(criteria: Mapping[str, Any], start: str | None) -> SearchRequest:
    """The request for events of rooms. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    keys = optional_str_list(criteria, "keys") or list(KIND_OF_KEY)
    order_by = optional_str(criteria, "order_by") or "rank"
    groupings = optional_object(criteria, "groupings") or {}
    group_by = [
        require_str(group, "key") for group in optional_object_list(groupings, "group_by") or ()
    ]
    for values, allowed in ((keys, KIND_OF_KEY), ([order_by], ORDERS), (group_by, GROUP_KEYS)):
        if not set(values) <= set(allowed):
            raise InvalidParam(f"Only {', '.join(allowed)} can be searched for or by")
    context = optional_object(criteria, "event_context")
    return SearchRequest(
        term=require_str(criteria, "search_term"),
        kinds=[KIND_OF_KEY[key] for key in keys],
        wanted=parse_room_event_filter(optional_object(criteria, "filter") or {}),
        by_rank=order_by == "rank",
        context=None if context is None else read_context(context),
        with_state=optional_bool(criteria, "include_state"),
        group_by=list(dict.fromkeys(group_by)),
        start=start,
    )


def read_context(context: Mapping[str, Any]) -> ContextWanted:
    """What is wanted around each result. Raises `BadJson`."""
    before, after = optional_int(context, "before_limit"), optional_int(context, "after_limit")
    default = ContextWanted()
    return ContextWanted(
        before=default.before if before is None else min(max(before, 0), MAX_CONTEXT),
        after=default.after if after is None else min(max(after, 0), MAX_CONTEXT),
        with_profiles=optional_bool(context, "include_profile"),
    )


ENDPOINTS = (search,)
