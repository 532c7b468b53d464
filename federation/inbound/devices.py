"""The devices of this server's users and their keys.

Source: server-server API, "Device Management", "End-to-End Encryption".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import ReadingCall
from federation.inbound.request_fields import checked, require_by_id
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import check_user_id

MAX_BODY_BYTES = 1_048_576
"""Keys of all users of a large room are asked for at once."""


@endpoint("GET", "/_matrix/federation/v1/user/devices/{userId}", Access.SERVER, rate=Rate.REQUEST)
async def get_user_devices(call: ReadingCall) -> Mapping[str, Any]:
    """List a user's devices. Errors: `NotFound`, `InvalidParam`."""
    return await call.services.answering.devices.device_list(check_user_id(call.path["userId"]))


@endpoint(
    "POST",
    "/_matrix/federation/v1/user/keys/query",
    Access.SERVER,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def query_user_encryption_keys(call: ReadingCall) -> Mapping[str, Any]:
    """Give users' identity keys. Errors: `BadJson`, `InvalidParam`."""
    wanted = require_by_id(call.json, "device_keys", check_user_id, list)
    return await call.services.answering.devices.query_keys(
        {user: [checked(i, "device_keys", str) for i in ids] for user, ids in wanted.items()}
    )


@endpoint(
    "POST",
    "/_matrix/federation/v1/user/keys/claim",
    Access.SERVER,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def claim_user_encryption_keys(call: ReadingCall) -> Mapping[str, Any]:
    """Give one-time keys away. Errors: `BadJson`, `InvalidParam`."""
    wanted = require_by_id(call.json, "one_time_keys", check_user_id, dict)
    return await call.services.answering.devices.claim_keys(
        {
            user: {
                checked(device, "one_time_keys", str): checked(algorithm, "one_time_keys", str)
                for device, algorithm in devices.items()
            }
            for user, devices in wanted.items()
        }
    )


ENDPOINTS = (get_user_devices, query_user_encryption_keys, claim_user_encryption_keys)
