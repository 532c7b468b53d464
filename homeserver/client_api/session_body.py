"""What a client says of its device when it logs in, and what it is told."""

from collections.abc import Mapping
from typing import Any

from federation.protocol.identifiers import check_device_id, server_of
from homeserver.http.request_body import optional_bool, optional_str
from homeserver.users.token_issuer import DeviceWish, OpenedSession, Tokens


def read_device_wish(body: Mapping[str, Any]) -> DeviceWish:
    """The parameters that login and registration share. Raises `BadJson`, `InvalidParam`."""
    device_id = optional_str(body, "device_id")
    return DeviceWish(
        device_id=check_device_id(device_id) if device_id is not None else None,
        display_name=optional_str(body, "initial_device_display_name"),
        refresh_token=optional_bool(body, "refresh_token"),
    )


def render_session(session: OpenedSession) -> dict[str, Any]:
    """The answer to who has logged in; `home_server` is for old clients."""
    return {
        "user_id": session.user_id,
        "device_id": session.device_id,
        "home_server": server_of(session.user_id),
        **render_tokens(session.tokens),
    }


def render_tokens(tokens: Tokens) -> dict[str, Any]:
    """Tokens, without the fields that do not apply."""
    fields = {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_in_ms": tokens.expires_in_ms,
    }
    return {name: value for name, value in fields.items() if value is not None}
