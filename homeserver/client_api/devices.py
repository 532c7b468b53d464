"""One's devices.

Source: client-server API, "Device Management".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.response import Response
from homeserver.client_api.interactive_auth import confirm_user
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_str_list
from storage.devices import Device


@endpoint("GET", "/_matrix/client/v3/devices", Access.GUEST)
async def get_devices(call: Call) -> dict[str, Any]:
    """List the user's devices."""
    devices = await call.services.users.devices.list_of(call.user_nid)
    return {"devices": [render_device(device) for device in devices]}


@endpoint("GET", "/_matrix/client/v3/devices/{deviceId}", Access.GUEST)
async def get_device(call: Call) -> dict[str, Any]:
    """Show one device. Errors: `NotFound`."""
    return render_device(
        await call.services.users.devices.get(call.user_nid, call.path["deviceId"])
    )


@endpoint("PUT", "/_matrix/client/v3/devices/{deviceId}", Access.GUEST, rate=Rate.REQUEST)
async def update_device(call: Call) -> dict[str, Any] | Response:
    """Rename a device; an application service also makes one so.

    Errors: `NotFound`, `InvalidParam`, `BadJson`, `Forbidden`.
    """
    devices, device_id = call.services.users.devices, call.path["deviceId"]
    name = optional_str(call.json, "display_name")
    if call.service is not None:
        user = call.services.users
        if await user.token_issuer.add_device(call.user_nid, call.user_id, device_id, name):
            return Response(201, {})
    if name is None:
        await devices.get(call.user_nid, device_id)
    else:
        await devices.rename(call.user_nid, call.user_id, device_id, name)
    return {}


@endpoint("DELETE", "/_matrix/client/v3/devices/{deviceId}", Access.USER, rate=Rate.REQUEST)
async def delete_device(call: Call) -> dict[str, Any]:
    """Remove a device. Errors: `AuthenticationNeeded`, `Forbidden`."""
    users = call.services.users
    await confirm_user(call)
    await users.devices.remove(call.user_nid, call.user_id, [call.path["deviceId"]])
    return {}


@endpoint("POST", "/_matrix/client/v3/delete_devices", Access.USER, rate=Rate.REQUEST)
async def delete_devices(call: Call) -> dict[str, Any]:
    """Remove several devices.

    Errors: `AuthenticationNeeded`, `Forbidden`, `MissingParam`, `BadJson`.
    """
    users = call.services.users
    device_ids = require_str_list(call.json, "devices")
    await confirm_user(call)
    await users.devices.remove(call.user_nid, call.user_id, device_ids)
    return {}


def render_device(device: Device) -> dict[str, Any]:
    """A device as its user sees it, without what is not known."""
    fields = {
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_ts": device.last_seen_ts,
    }
    return {name: value for name, value in fields.items() if value is not None}


ENDPOINTS = (get_devices, get_device, update_device, delete_device, delete_devices)
