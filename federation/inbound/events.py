"""Events, states and auth chains for the other servers of a room.

PDUs are spliced into the answers as they are stored.
Source: server-server API, "Backfilling and retrieving missing events", "Retrieving events",
"Retrieving event authorisation information".
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from federation.inbound.reading_ports import Gap, ReadingCall
from federation.inbound.request_fields import optional, require_ids
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, MissingParam
from federation.protocol.identifiers import EventId, RoomId, check_event_id, check_room_id

MAX_BACKFILL = 100
MAX_STARTS = 100
"""Events that a backfill may begin from."""
DEFAULT_MISSING = 10
MAX_MISSING = 100
MAX_ENDS = 1_000
"""Events that a gap may have on either side."""


@endpoint("GET", "/_matrix/federation/v1/event/{eventId}", Access.SERVER, rate=Rate.REQUEST)
async def get_event(call: ReadingCall) -> Mapping[str, Any]:
    """Give a single event. Errors: `NotFound`, `Forbidden`."""
    event_id = check_event_id(call.path["eventId"])
    return transaction(call, [await call.services.answering.events.event(call.origin, event_id)])


@endpoint("GET", "/_matrix/federation/v1/state/{roomId}", Access.SERVER, rate=Rate.REQUEST)
async def get_room_state(call: ReadingCall) -> Mapping[str, Any]:
    """Give the state before an event, with its auth chain. Errors: `NotFound`, `Forbidden`."""
    event_id = check_event_id(call.query_str("event_id"))
    state = await call.services.answering.events.state(call.origin, room_of(call), event_id)
    return {"auth_chain": splice(state.auth_chain), "pdus": splice(state.pdus)}


@endpoint("GET", "/_matrix/federation/v1/state_ids/{roomId}", Access.SERVER, rate=Rate.REQUEST)
async def get_room_state_ids(call: ReadingCall) -> bytes:
    """Give the state before an event, with its auth chain, as IDs.

    Errors: `NotFound`, `Forbidden`.
    """
    event_id = check_event_id(call.query_str("event_id"))
    return await call.services.answering.events.state_ids(call.origin, room_of(call), event_id)


@endpoint(
    "GET", "/_matrix/federation/v1/event_auth/{roomId}/{eventId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_event_auth(call: ReadingCall) -> Mapping[str, Any]:
    """Give the auth chain of an event. Errors: `NotFound`, `Forbidden`."""
    event_id = check_event_id(call.path["eventId"])
    chain = await call.services.answering.events.auth_chain(call.origin, room_of(call), event_id)
    return {"auth_chain": splice(chain)}


@endpoint("GET", "/_matrix/federation/v1/backfill/{roomId}", Access.SERVER, rate=Rate.REQUEST)
async def backfill_room(call: ReadingCall) -> Mapping[str, Any]:
    """Give events and what precedes them. Errors: `NotFound`, `Forbidden`, `MissingParam`."""
    starts = call.query_list("v")
    limit = call.query_int("limit", maximum=MAX_BACKFILL)
    if not starts or limit is None:
        raise MissingParam("'v' and 'limit' are required")
    event_ids = [check_event_id(event_id) for event_id in starts[:MAX_STARTS]]
    events = call.services.answering.events
    return transaction(call, await events.backfill(call.origin, room_of(call), event_ids, limit))


@endpoint(
    "POST",
    "/_matrix/federation/v1/get_missing_events/{roomId}",
    Access.SERVER,
    rate=Rate.REQUEST,
)
async def get_missing_previous_events(call: ReadingCall) -> Mapping[str, Any]:
    """Give the events between some others. Errors: `NotFound`, `Forbidden`, `BadJson`."""
    events = await call.services.answering.events.missing_events(
        call.origin, room_of(call), read_gap(call.json)
    )
    return {"events": splice(events)}


@endpoint(
    "GET", "/_matrix/federation/v1/timestamp_to_event/{roomId}", Access.SERVER, rate=Rate.REQUEST
)
async def get_event_by_timestamp(call: ReadingCall) -> Mapping[str, Any]:
    """Name the event closest to a time. Errors: `NotFound`, `Forbidden`, `MissingParam`."""
    ts = call.query_int("ts")
    direction = call.query_choice("dir", ("f", "b"))
    if ts is None or direction is None:
        raise MissingParam("'ts' and 'dir' are required")
    found = await call.services.answering.events.closest_event(
        call.origin, room_of(call), ts, backwards=direction == "b"
    )
    return {"event_id": found.event_id, "origin_server_ts": found.origin_server_ts}


def room_of(call: ReadingCall) -> RoomId:
    """The room in the path. Raises `InvalidParam`."""
    return check_room_id(call.path["roomId"])


def read_gap(body: Mapping[str, Any]) -> Gap:
    """The gap that a body describes. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    limit, min_depth = optional(body, "limit", int), optional(body, "min_depth", int)
    if limit is not None and limit < 0:
        raise BadJson("'limit' must not be negative")
    earliest: list[EventId] = require_ids(body, "earliest_events", check_event_id, MAX_ENDS)
    return Gap(
        earliest=earliest,
        latest=require_ids(body, "latest_events", check_event_id, MAX_ENDS),
        # A depth is a 64-bit number to the database.
        min_depth=max(0, min(min_depth or 0, 2**63 - 1)),
        limit=DEFAULT_MISSING if limit is None else min(limit, MAX_MISSING),
    )


def transaction(call: ReadingCall, pdus: Iterable[bytes]) -> Mapping[str, Any]:
    """PDUs in the form of a transaction of ours."""
    answering = call.services.answering
    return {
        "origin": answering.server_name,
        "origin_server_ts": answering.clock(),
        "pdus": splice(pdus),
    }


def splice(pdus: Iterable[bytes]) -> list[orjson.Fragment]:
    """PDUs as parts of an answer that are put in place unread."""
    return [orjson.Fragment(pdu) for pdu in pdus]


ENDPOINTS = (
    get_event,
    get_room_state,
    get_room_state_ids,
    get_event_auth,
    backfill_room,
    get_missing_previous_events,
    get_event_by_timestamp,
)
