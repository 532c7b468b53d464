"""Reporting rooms, events and users to the administrators.

Source: client-server API, "Reporting Content".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.http.request_body import optional_int, optional_str, require_str

WORST_SCORE, BEST_SCORE = -100, 0


@endpoint("POST", "/_matrix/client/v3/rooms/{roomId}/report", Access.USER, rate=Rate.REPORT)
async def report_room(call: Call) -> dict[str, Any]:
    """Report a room. Errors: `NotFound`, `MissingParam`, `BadJson`."""
    await call.services.personal.reports.report_room(
        call.user_nid, call.path["roomId"], require_str(call.json, "reason")
    )
    return {}


@endpoint(
    "POST", "/_matrix/client/v3/rooms/{roomId}/report/{eventId}", Access.USER, rate=Rate.REPORT
)
async def report_event(call: Call) -> dict[str, Any]:
    """Report an event of a room that one is in. Errors: `NotFound`, `BadJson`.

    Clients of older versions send no reason, or a score from -100 to 0.
    """
    score = optional_int(call.json, "score")
    await call.services.personal.reports.report_event(
        call.user_nid,
        call.path["roomId"],
        call.path["eventId"],
        optional_str(call.json, "reason"),
        None if score is None else min(max(score, WORST_SCORE), BEST_SCORE),
    )
    return {}


@endpoint("POST", "/_matrix/client/v3/users/{userId}/report", Access.USER, rate=Rate.REPORT)
async def report_user(call: Call) -> dict[str, Any]:
    """Report a user. Errors: `NotFound`, `MissingParam`, `BadJson`."""
    await call.services.personal.reports.report_user(
        call.user_nid, call.path["userId"], require_str(call.json, "reason")
    )
    return {}


ENDPOINTS = (report_room, report_event, report_user)
