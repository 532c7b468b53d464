"""Tokens of our LiveKit server for the users of other homeservers.

Source: MSC4195, "Acquiring LiveKit access tokens".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.reading_ports import CallPlace, ReadingCall
from federation.inbound.request_fields import require
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam, Unrecognized
from federation.protocol.identifiers import check_user_id

MAX_LENGTH = 512


@endpoint(
    "POST",
    "/_matrix/federation/v1/rtc/livekit/get_token",
    Access.SERVER,
    rate=Rate.CALL,
    aliases=("/_matrix/federation/unstable/io.element.msc4195/rtc/livekit/get_token",),
)
async def get_livekit_token_for_server(call: ReadingCall) -> Mapping[str, Any]:
    """Give out a token for a user of the other homeserver.

    Errors: `Unrecognized` (no calls here), `Forbidden` (not in the room, or not the server's),
    `InvalidParam` (no such LiveKit server here), `BadJson`, `MissingParam`.
    """
    tokens = call.services.answering.call_tokens
    if tokens is None:
        raise Unrecognized("This server has no LiveKit server")
    body = call.json
    user_id, url = check_user_id(require(body, "user_id", str)), require(body, "url", str)
    texts = [require(body, name, str) for name in ("room_id", "slot_id", "member_id")]
    if any(not 0 < len(text) <= MAX_LENGTH for text in texts):
        raise InvalidParam("An ID is empty or too long")
    token = await tokens.get_token_for_server(call.origin, user_id, url, CallPlace(*texts))
    return {"jwt": token}


ENDPOINTS = (get_livekit_token_for_server,)
