"""Keys for end-to-end encryption.

Source: client-server API, "Key management API", "Cross-signing".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.device_keys import parse_fallback_keys, parse_one_time_keys
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson
from federation.protocol.identifiers import UserId, check_user_id
from homeserver.client_api.interactive_auth import confirm_user
from homeserver.encryption.key_queries import DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS
from homeserver.http.call import Call
from homeserver.http.request_body import optional_int, optional_object, require_object
from homeserver.sync.token import parse_sync_token

MAX_BODY_BYTES = 1_048_576
"""Keys of all users of a large room are asked for at once."""


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/upload",
    Access.GUEST,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
    aliases=("/_matrix/client/v3/keys/upload/{deviceId}",),
)
async def upload_keys(call: Call) -> dict[str, Any]:
    """Publish the device's identity keys and keep one-time keys for others to take.

    Errors: `BadJson`, `InvalidParam`, `BadSignature`.
    """
    encryption = call.services.encryption
    device_keys = optional_object(call.json, "device_keys")
    one_time_keys = parse_one_time_keys(optional_object(call.json, "one_time_keys") or {})
    fallback_keys = parse_fallback_keys(optional_object(call.json, "fallback_keys") or {})
    if device_keys is not None:
        await encryption.device_keys.upload(call.user, device_keys)
    await encryption.one_time_keys.add(call.device_nid, one_time_keys, fallback_keys)
    counts = await encryption.one_time_keys.counts(call.device_nid)
    return {"one_time_key_counts": counts.one_time_keys}


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/query",
    Access.GUEST,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def query_keys(call: Call) -> dict[str, Any]:
    """Give the identity keys of users' devices. Errors: `BadJson`, `InvalidParam`."""
    wanted = by_user(call, "device_keys", list)
    published, failures = await call.services.encryption.queries.query(
        call.user_nid,
        {user_id: texts(device_ids, "device_keys") for user_id, device_ids in wanted.items()},
        timeout_ms(call),
    )
    return {
        "device_keys": published.device_keys,
        "failures": failures,
        "master_keys": published.master_keys,
        "self_signing_keys": published.self_signing_keys,
        "user_signing_keys": published.user_signing_keys,
    }


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/claim",
    Access.GUEST,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def claim_keys(call: Call) -> dict[str, Any]:
    """Take one-time keys of devices. Errors: `BadJson`, `InvalidParam`."""
    wanted = by_user(call, "one_time_keys", dict)
    for by_device in wanted.values():
        texts([*by_device, *by_device.values()], "one_time_keys")
    claimed, failures = await call.services.encryption.queries.claim(wanted, timeout_ms(call))
    return {"one_time_keys": claimed, "failures": failures}


@endpoint("GET", "/_matrix/client/v3/keys/changes", Access.USER, rate=Rate.REQUEST)
async def get_keys_changes(call: Call) -> dict[str, Any]:
    """Tell whose devices have changed since a sync. Errors: `MissingParam`, `InvalidParam`."""
    since = parse_sync_token(call.query_str("from"))
    parse_sync_token(call.query_str("to"))
    lists = await call.services.sync.device_lists_since(call.user_nid, call.user_id, since)
    return {"changed": sorted(lists.changed), "left": sorted(lists.left)}


@endpoint("POST", "/_matrix/client/v3/keys/device_signing/upload", Access.USER, rate=Rate.REQUEST)
async def upload_cross_signing_keys(call: Call) -> dict[str, Any]:
    """Publish cross-signing keys.

    Errors: `AuthenticationNeeded`, `BadJson`, `InvalidParam`, `MissingParam`, `BadSignature`,
    `Forbidden`.
    """
    cross_signing = call.services.encryption.cross_signing
    if await cross_signing.needs_confirmation(call.user, call.json):
        await confirm_user(call)
    await cross_signing.upload(call.user, call.json)
    return {}


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/signatures/upload",
    Access.USER,
    rate=Rate.REQUEST,
    max_body_bytes=MAX_BODY_BYTES,
)
async def upload_cross_signing_signatures(call: Call) -> dict[str, Any]:
    """Publish signatures of devices and cross-signing keys. Errors: `BadJson`, `InvalidParam`."""
    signed = checked_users(call.json, "the body", dict)
    failures = await call.services.encryption.cross_signing.upload_signatures(call.user, signed)
    return {"failures": failures}


def by_user(call: Call, key: str, kind: type) -> dict[UserId, Any]:
    """The object at a key of the body, from user IDs to values of a type.

    Raises `MissingParam`, `BadJson`, `InvalidParam`.
    """
    return checked_users(require_object(call.json, key), key, kind)


def checked_users(values: Mapping[str, Any], name: str, kind: type) -> dict[UserId, Any]:
    """The object, if it goes from user IDs to values of a type.

    Raises `BadJson`, `InvalidParam`.
    """
    if any(type(value) is not kind for value in values.values()):
        raise BadJson(f"'{name}' has a value of the wrong type")
    return {check_user_id(user_id): value for user_id, value in values.items()}


def texts(values: list[Any], name: str) -> list[str]:
    """The values, if all are strings without NUL. Raises `BadJson`."""
    if any(not isinstance(value, str) or "\0" in value for value in values):
        raise BadJson(f"'{name}' has something that is not a string")
    return values


def timeout_ms(call: Call) -> int:
    """How long the client wants to wait for other servers."""
    wanted = optional_int(call.json, "timeout")
    return DEFAULT_TIMEOUT_MS if wanted is None else min(max(wanted, 0), MAX_TIMEOUT_MS)


ENDPOINTS = (
    upload_keys,
    query_keys,
    claim_keys,
    get_keys_changes,
    upload_cross_signing_keys,
    upload_cross_signing_signatures,
)
