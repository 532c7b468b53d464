"""Telling third parties who a user is.

Source: server-server API, "OpenID".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import ReadingCall
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import MissingToken, UnknownToken


@endpoint("GET", "/_matrix/federation/v1/openid/userinfo", Access.PUBLIC, rate=Rate.REQUEST)
async def exchange_open_id_token(call: ReadingCall) -> Mapping[str, Any]:
    """Name the user who was given a token. Errors: `MissingToken`, `UnknownToken`."""
    token = call.query_optional_str("access_token")
    if not token:
        raise MissingToken
    user_id = await call.services.answering.openid.find_openid_user(token)
    if user_id is None:
        raise UnknownToken("Access token unknown or expired")
    return {"sub": user_id}


ENDPOINTS = (exchange_open_id_token,)
