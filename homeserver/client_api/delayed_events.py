"""Delayed events: scheduling them, managing them, and finding out what became of them.

At the stable paths all is as MSC4140 has it. The unstable paths are what clients use that were made
for earlier versions of it: there no login is needed to manage an event (the ID is the secret), and
an event that is over counts as absent, since these clients take another answer for a failure.
"""

import re
from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import (
    InvalidParam,
    MatrixError,
    MissingParam,
    Unrecognized,
)
from federation.protocol.identifiers import RoomId
from homeserver.calls.delayed_events import (
    DelayedEventOver,
    DelayTooLong,
    LaterEvent,
    build_view,
)
from homeserver.client_api.chosen_time import chosen_time
from homeserver.client_api.stickiness import chosen_stickiness
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_int, require_object, require_str
from homeserver.rooms.send import transaction_of
from storage.add_events import Transaction

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"
DELAY = "org.matrix.msc4140.delay"
ACTIONS = ("send", "cancel", "restart")
STATUSES = ("scheduled", "finalised")
TOKEN = re.compile(r"([0-9]{1,18})_([0-9]{1,18})")
LONGEST_MS = 2**53


class Conflict(MatrixError):
    """The delayed event has become something else than what was asked for."""

    status = 409


class UnstableDelayTooLong(MatrixError):
    """The delay is longer than the server allows, as clients of earlier versions are told."""

    def __init__(self, error: DelayTooLong) -> None:
        super().__init__(error.message)
        self.max_delay_ms = error.max_delay_ms

    def body(self) -> dict[str, Any]:
        """Adds what is wrong and the longest delay."""
        return super().body() | {
            "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
            "org.matrix.msc4140.max_delay": self.max_delay_ms,
        }


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/delayed_event/{eventType}/{txnId}",
    Access.GUEST,
    rate=Rate.MESSAGE,
    suspended_allowed=False,
    aliases=(f"{UNSTABLE}/rooms/{{roomId}}/delayed_event/{{eventType}}/{{txnId}}",),
)
async def schedule_delayed_event(call: Call) -> Mapping[str, Any]:
    """Have an event sent later; the same `txnId` again answers the first ID.

    Errors: `BadJson`, `MissingParam`, `DelayTooLong`, `TooManyDelayedEvents`, `TooLarge`.
    """
    delay_ms = call.json.get("delay_ms", call.json.get("delay"))
    if delay_ms is None:
        raise MissingParam("Missing 'delay_ms'")
    later = LaterEvent(
        call.user_nid,
        RoomId(call.path["roomId"]),
        call.path["eventType"],
        require_object(call.json, "content"),
        check_delay(delay_ms),
        optional_str(call.json, "state_key"),
        chosen_time(call),
        chosen_stickiness(call),
    )
    request = request_of(call, "delayed_event", later)
    return {"delay_id": await call.services.delayed_events.schedule(later, request)}


@endpoint(
    "POST",
    "/_matrix/client/v1/delayed_events/{delayId}/{action}",
    Access.GUEST,
    rate=Rate.DELAYED_EVENT,
)
async def manage_delayed_event(call: Call) -> Mapping[str, Any]:
    """Send, cancel or restart one of the caller's delayed events.

    Errors: `NotFound`, `Conflict` where it has become something else, and what sending raises.
    """
    try:
        await manage(call, call.path["action"], call.user_nid)
    except DelayedEventOver as error:
        raise Conflict(error.message) from error
    return {}


@endpoint(
    "POST",
    f"{UNSTABLE}/delayed_events/{{delayId}}/{{action}}",
    Access.OPTIONAL,
    rate=Rate.DELAYED_EVENT,
)
async def manage_delayed_event_by_id(call: Call) -> Mapping[str, Any]:
    """Send, cancel or restart a delayed event of which the caller knows the ID.

    Errors: `NotFound`, and what sending raises.
    """
    await manage(call, call.path["action"], None)
    return {}


@endpoint(
    "POST", f"{UNSTABLE}/delayed_events/{{delayId}}", Access.OPTIONAL, rate=Rate.DELAYED_EVENT
)
async def update_delayed_event(call: Call) -> Mapping[str, Any]:
    """Send, cancel or restart a delayed event, as the body says: the oldest form.

    Errors: `MissingParam`, `InvalidParam`, `NotFound`, and what sending raises.
    """
    action = require_str(call.json, "action")
    if action not in ACTIONS:
        raise InvalidParam(f"'action' must be one of {', '.join(ACTIONS)}")
    await manage(call, action, None)
    return {}


@endpoint(
    "GET",
    "/_matrix/client/v1/delayed_events/{delayId}",
    Access.GUEST,
    rate=Rate.REQUEST,
    aliases=(f"{UNSTABLE}/delayed_events/{{delayId}}",),
)
async def get_delayed_event(call: Call) -> Mapping[str, Any]:
    """Show one of the caller's delayed events. Errors: `NotFound`."""
    delayed_events = call.services.delayed_events
    return build_view(await delayed_events.get(call.user_nid, call.path["delayId"]))


@endpoint(
    "GET",
    "/_matrix/client/v1/delayed_events",
    Access.GUEST,
    rate=Rate.REQUEST,
    aliases=(f"{UNSTABLE}/delayed_events",),
)
async def get_delayed_events(call: Call) -> Mapping[str, Any]:
    """List the caller's delayed events in the order in which they are due.

    Those that are scheduled, or with `status` those that were finalised; `delay_id`, which may be
    repeated, and `from` restrict them further. Errors: `InvalidParam`.
    """
    page = await call.services.delayed_events.page(
        call.user_nid,
        finalised=call.query_choice("status", STATUSES, "scheduled") == "finalised",
        after=parse_token(call.query_optional_str("from")),
        delay_ids=call.query_list("delay_id") or None,
    )
    shown: dict[str, Any] = {"delayed_events": [build_view(event) for event in page.events]}
    if page.next_batch is not None:
        shown["next_batch"] = page.next_batch
    return shown


async def schedule_by_query(call: Call, state_key: str | None) -> Mapping[str, Any] | None:
    """Schedule what is sent with a delay in the query; None for what is not.

    Errors: `InvalidParam`, `UnstableDelayTooLong`, `TooManyDelayedEvents`, `TooLarge`.
    """
    delay_ms = call.query_int(DELAY, minimum=1, maximum=LONGEST_MS)
    if delay_ms is None:
        return None
    later = LaterEvent(
        call.user_nid,
        RoomId(call.path["roomId"]),
        call.path["eventType"],
        call.json,
        delay_ms,
        state_key,
        chosen_time(call),
        chosen_stickiness(call),
    )
    request = request_of(call, "send", later) if state_key is None else None
    try:
        return {"delay_id": await call.services.delayed_events.schedule(later, request)}
    except DelayTooLong as error:
        raise UnstableDelayTooLong(error) from error


async def manage(call: Call, action: str, owner: int | None) -> None:
    """Do what is asked with a delayed event. Raises `Unrecognized` for anything else."""
    delayed_events, delay_id = call.services.delayed_events, call.path["delayId"]
    match action:
        case "send":
            await delayed_events.send(delay_id, owner)
        case "cancel":
            await delayed_events.cancel(delay_id, owner)
        case "restart":
            await delayed_events.restart(delay_id, owner)
        case _:
            raise Unrecognized("There is no such endpoint")


def request_of(call: Call, kind: str, later: LaterEvent) -> Transaction:
    """The request that schedules an event, by its transaction ID."""
    scope = (str(call.user_nid), "delayed", kind, later.room_id, later.type)
    return transaction_of(call.device_nid, scope, call.path["txnId"])


def check_delay(value: object) -> int:
    """A delay of a body. Raises `BadJson`, `InvalidParam`."""
    delay_ms = require_int({"delay_ms": value}, "delay_ms")
    if not 0 < delay_ms <= LONGEST_MS:
        raise InvalidParam("'delay_ms' must be positive")
    return delay_ms


def parse_token(token: str | None) -> tuple[int, int]:
    """The time and the number behind which a page begins. Raises `InvalidParam`."""
    if token is None:
        return 0, 0
    match = TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("'from' is not a token that this server gave out")
    return int(match[1]), int(match[2])


ENDPOINTS = (
    schedule_delayed_event,
    manage_delayed_event,
    manage_delayed_event_by_id,
    update_delayed_event,
    get_delayed_event,
    get_delayed_events,
)
