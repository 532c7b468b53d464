"""What administrators see of accounts and do about them.

Source: client-server API, "Server Administration".
"""

from typing import Any

from federation.protocol.endpoint import Access, endpoint
from homeserver.http.call import Call
from homeserver.http.request_body import require_bool
from storage.devices import Device


@endpoint("GET", "/_matrix/client/v3/admin/whois/{userId}", Access.USER)
async def get_who_is(call: Call) -> dict[str, Any]:
    """Tell from where a user is connected. Errors: `Forbidden`, `NotFound`."""
    users = call.services.users
    account = await users.moderation.find_for_whois(call.user, call.path["userId"])
    devices = await users.devices.list_of(account.user_nid)
    return {
        "user_id": account.user_id,
        "devices": {device.device_id: render_sessions(device) for device in devices},
    }


@endpoint("GET", "/_matrix/client/v1/admin/lock/{userId}", Access.ADMIN)
async def get_admin_lock_user(call: Call) -> dict[str, Any]:
    """Tell whether an account is locked. Errors: `InvalidParam`, `Forbidden`, `NotFound`."""
    target = await call.services.users.moderation.get_target(call.user, call.path["userId"])
    return {"locked": target.is_locked}


@endpoint("PUT", "/_matrix/client/v1/admin/lock/{userId}", Access.ADMIN)
async def set_admin_lock_user(call: Call) -> dict[str, Any]:
    """Lock or unlock an account.

    Errors: `MissingParam`, `BadJson`, `InvalidParam`, `Forbidden`, `NotFound`.
    """
    locked = require_bool(call.json, "locked")
    await call.services.users.moderation.set_locked(call.user, call.path["userId"], locked=locked)
    return {"locked": locked}


@endpoint("GET", "/_matrix/client/v1/admin/suspend/{userId}", Access.ADMIN)
async def get_admin_suspend_user(call: Call) -> dict[str, Any]:
    """Tell whether an account is suspended. Errors: `InvalidParam`, `Forbidden`, `NotFound`."""
    target = await call.services.users.moderation.get_target(call.user, call.path["userId"])
    return {"suspended": target.is_suspended}


@endpoint("PUT", "/_matrix/client/v1/admin/suspend/{userId}", Access.ADMIN)
async def set_admin_suspend_user(call: Call) -> dict[str, Any]:
    """Suspend an account or end that.

    Errors: `MissingParam`, `BadJson`, `InvalidParam`, `Forbidden`, `NotFound`.
    """
    suspended = require_bool(call.json, "suspended")
    await call.services.users.moderation.set_suspended(
        call.user, call.path["userId"], suspended=suspended
    )
    return {"suspended": suspended}


def render_sessions(device: Device) -> dict[str, Any]:
    """A device's last connection, as whois shows it."""
    if device.last_seen_ts is None:
        return {"sessions": [{"connections": []}]}
    connection = {"last_seen": device.last_seen_ts, "ip": device.last_seen_ip}
    if device.last_seen_agent is not None:
        connection["user_agent"] = device.last_seen_agent
    return {"sessions": [{"connections": [connection]}]}


ENDPOINTS = (
    get_who_is,
    get_admin_lock_user,
    set_admin_lock_user,
    get_admin_suspend_user,
    set_admin_suspend_user,
)
