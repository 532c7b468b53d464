"""Credentials for the TURN server.

Source: client-server API, "Voice over IP"; draft-uberti-behave-turn-rest-00, which coturn
implements.
"""

import base64
import hashlib
import hmac
from typing import Any

from federation.protocol.identifiers import UserId
from homeserver.config.sections.calls import Turn


def build_turn_credentials(turn: Turn, user_id: UserId, now_s: int) -> dict[str, Any]:
    """What a client needs to use the TURN server; empty where there is none.

    With a shared secret, user name and password are good until the time in the user name.
    """
    if not turn.uris:
        return {}
    if turn.shared_secret:
        username = f"{now_s + turn.ttl_s}:{user_id}"
        mac = hmac.digest(turn.shared_secret.encode(), username.encode(), hashlib.sha1)
        password = base64.b64encode(mac).decode()
    elif turn.username and turn.password:
        username, password = turn.username, turn.password
    else:
        return {}
    return {
        "username": username,
        "password": password,
        "uris": list(turn.uris),
        "ttl": turn.ttl_s,
    }
