"""The token service of MatrixRTC, as clients find it by `livekit_service_url`.

Source: the public protocol of the stand-alone token service; LiveKit, "Webhooks".
"""

from typing import Any

from federation.protocol.endpoint import Access, Body, Rate, endpoint
from federation.protocol.response import Response
from homeserver.call_api.rtc import calls_of
from homeserver.calls.requests import read_delegation, read_room_request, read_slot_request
from homeserver.http.call import Call

PREFIX = "/livekit/jwt"
MAX_WEBHOOK_BYTES = 1_048_576


@endpoint("POST", f"{PREFIX}/get_token", Access.PUBLIC, rate=Rate.CALL, body=Body.BYTES)
async def get_token(call: Call) -> Any:
    """Give out a token for a slot of a room.

    Errors: `NotJson`, `BadJson`, `Unauthorized`, `Forbidden` (not in the room), `LiveKitFailed`.
    """
    return await calls_of(call).token_service.get_token(read_slot_request(call.body))


@endpoint("POST", f"{PREFIX}/sfu/get", Access.PUBLIC, rate=Rate.CALL, body=Body.BYTES)
async def get_sfu(call: Call) -> Any:
    """Give out a token for a room. Errors: as for `get_token`."""
    return await calls_of(call).token_service.get_token(read_room_request(call.body))


@endpoint(
    "POST", f"{PREFIX}/delegate_delayed_leave", Access.PUBLIC, rate=Rate.CALL, body=Body.BYTES
)
async def delegate_delayed_leave_by_openid(call: Call) -> dict[str, Any]:
    """Look after a delayed leave.

    Errors: `NotJson`, `BadJson`, `Unauthorized`, `Forbidden` (no full access, not in the room).
    """
    request, delay = read_delegation(call.body)
    await calls_of(call).token_service.delegate_delayed_leave(request, delay)
    return {}


@endpoint(
    "POST",
    f"{PREFIX}/sfu_webhook",
    Access.PUBLIC,
    body=Body.BYTES,
    max_body_bytes=MAX_WEBHOOK_BYTES,
)
async def take_sfu_webhook(call: Call) -> dict[str, Any]:
    """Hear from LiveKit. Errors: `Unauthorized` for what others say in its name."""
    await calls_of(call).take_webhook(call.body, call.headers.get("Authorization", ""))
    return {}


@endpoint("GET", f"{PREFIX}/healthz", Access.PUBLIC)
async def get_service_health(call: Call) -> Response:
    """Say that the service is there."""
    del call
    return Response(200)


ENDPOINTS = (
    get_token,
    get_sfu,
    delegate_delayed_leave_by_openid,
    take_sfu_webhook,
    get_service_health,
)
