"""Dehydrated devices.

Source: MSC3814. Its former revision fetches messages by POST, with the token in the body; clients
in use do that.
"""

from typing import Any

import orjson

from federation.protocol.device_keys import parse_fallback_keys, parse_one_time_keys
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from homeserver.encryption.dehydrated_devices import NewDehydratedDevice, WaitingMessages
from homeserver.http.call import Call
from homeserver.http.request_body import (
    optional_object,
    optional_str,
    require_object,
    require_str,
)
from homeserver.sync.token import is_number

DEVICE = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
EVENTS = f"{DEVICE}/{{deviceId}}/events"
MAX_BODY_BYTES = 524_288
"""The device's secrets, and its keys with up to a hundred one-time keys."""
MOST_EVENTS = 100
BEGINNING = 0


@endpoint("PUT", DEVICE, Access.USER, rate=Rate.REQUEST, max_body_bytes=MAX_BODY_BYTES)
async def put_dehydrated_device(call: Call) -> dict[str, Any]:
    """Replace the user's dehydrated device.

    Errors: `MissingParam`, `BadJson`, `InvalidParam`, `BadSignature`, `TooLarge`, `Forbidden`.
    """
    device_data = require_object(call.json, "device_data")
    require_str(device_data, "algorithm")
    new = NewDehydratedDevice(
        require_str(call.json, "device_id"),
        device_data,
        require_object(call.json, "device_keys"),
        parse_one_time_keys(optional_object(call.json, "one_time_keys") or {}),
        parse_fallback_keys(optional_object(call.json, "fallback_keys") or {}),
        optional_str(call.json, "initial_device_display_name"),
    )
    return {"device_id": await call.services.encryption.dehydrated.put(call.user, new)}


@endpoint("GET", DEVICE, Access.USER, rate=Rate.REQUEST)
async def get_dehydrated_device(call: Call) -> dict[str, Any]:
    """Give the user's dehydrated device. Errors: `NotFound`."""
    device = await call.services.encryption.dehydrated.get(call.user_nid)
    return {"device_id": device.device_id, "device_data": orjson.Fragment(device.device_data)}


@endpoint("DELETE", DEVICE, Access.USER, rate=Rate.REQUEST)
async def delete_dehydrated_device(call: Call) -> dict[str, Any]:
    """Remove the user's dehydrated device. Errors: `NotFound`."""
    return {"device_id": await call.services.encryption.dehydrated.remove(call.user)}


@endpoint("GET", EVENTS, Access.USER, rate=Rate.REQUEST)
async def get_dehydrated_device_events(call: Call) -> dict[str, Any]:
    """Give messages that wait for the dehydrated device. Errors: `Forbidden`, `InvalidParam`."""
    page = await read_page(call, call.query_optional_str("from"))
    more = {"next_batch": str(page.next_batch)} if page.has_more else {}
    return {"events": rendered(page), **more}


@endpoint("POST", EVENTS, Access.USER, rate=Rate.REQUEST)
async def post_dehydrated_device_events(call: Call) -> dict[str, Any]:
    """Give messages as GET does; there is always a token, also after the last one.

    Errors: `Forbidden`, `InvalidParam`, `BadJson`.
    """
    page = await read_page(call, optional_str(call.json, "next_batch"))
    return {"events": rendered(page), "next_batch": str(page.next_batch)}


async def read_page(call: Call, token: str | None) -> WaitingMessages:
    """The messages after a token. Raises `Forbidden`, `InvalidParam`."""
    if token is not None and not is_number(token):
        raise InvalidParam("This is not a token that this server gave out")
    after = BEGINNING if token is None else int(token)
    limit = call.query_int("limit", MOST_EVENTS, minimum=1, maximum=MOST_EVENTS)
    dehydrated = call.services.encryption.dehydrated
    return await dehydrated.messages(call.user_nid, call.path["deviceId"], after, limit)


def rendered(page: WaitingMessages) -> list[Any]:
    """The messages, which are JSON already."""
    return [orjson.Fragment(event) for event in page.events]


ENDPOINTS = (
    put_dehydrated_device,
    get_dehydrated_device,
    delete_dehydrated_device,
    get_dehydrated_device_events,
    post_dehydrated_device_events,
)
