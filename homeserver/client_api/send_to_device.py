"""Messages from device to device.

Source: client-server API, "Send-to-Device messaging".
"""

from typing import Any

from federation.protocol.edu import parse_device_messages
from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.http.request_body import require_object
from homeserver.rooms.send import transaction_of

MAX_BODY_BYTES = 8_388_608
MAX_DEVICES = 10_000
"""Bridges send a new key to all devices in a room at once, each a kilobyte of its own."""


@endpoint(
    "PUT",
    "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
    Access.GUEST,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def send_to_device(call: Call) -> dict[str, Any]:
    """Send messages to devices; the same `txnId` again does nothing.

    Errors: `MissingParam`, `BadJson`, `InvalidParam`.
    """
    event_type = call.path["eventType"]
    messages = parse_device_messages(require_object(call.json, "messages"), MAX_DEVICES)
    scope = (str(call.user_nid), "sendToDevice", event_type)
    transaction = transaction_of(call.device_nid, scope, call.path["txnId"])
    await call.services.encryption.to_device.send(call.user_id, event_type, messages, transaction)
    return {}


ENDPOINTS = (send_to_device,)
