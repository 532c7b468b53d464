"""Where calls find a TURN server.

Source: client-server API, "Voice over IP".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from homeserver.http.call import Call
from homeserver.users.turn import build_turn_credentials


@endpoint("GET", "/_matrix/client/v3/voip/turnServer", Access.GUEST, rate=Rate.REQUEST)
async def get_turn_server(call: Call) -> dict[str, Any]:
    """Give out credentials for the TURN server; nothing where there is none."""
    services = call.services
    turn = services.settings.turn
    if call.is_guest and not turn.allow_guests:
        return {}
    return build_turn_credentials(turn, call.user_id, services.clock() // 1000)


ENDPOINTS = (get_turn_server,)
