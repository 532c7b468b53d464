"""What tokens let their holders do on LiveKit.

Source: MSC4195, "Access token properties"; LiveKit, "Tokens & grants".
"""

from collections.abc import Mapping
from typing import Any


def service_grant(room: str, identity: str) -> Mapping[str, Any]:
    """The claims of a token of the token service, which tells no user from another."""
    return {
        "sub": identity,
        "identity": identity,
        "video": {
            "room": room,
            "roomJoin": True,
            "canPublish": True,
            "canSubscribe": True,
            "canUpdateOwnMetadata": True,
        },
    }


def homeserver_grant(room: str, identity: str, *, is_local: bool) -> Mapping[str, Any]:
    """The claims of a token of the homeserver: others' users publish on LiveKit servers of theirs.

    `roomCreate` would also let them delete rooms.
    """
    return {
        "sub": identity,
        "video": {
            "room": room,
            "roomCreate": False,
            "roomJoin": True,
            "canPublish": is_local,
            "canSubscribe": True,
            "canUpdateOwnMetadata": False,
            "hidden": False,
        },
    }
