"""Which new rooms are encrypted whatever their creator asks for, and that encrypted rooms stay so.

Source: client-server API, "Enabling encryption": "once encryption is enabled in a room, it cannot
be disabled"; clients hold on to the first event, but those who come later see the latest.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from federation.protocol.errors import Forbidden
from federation.protocol.pdu import StateKey
from homeserver.rooms.presets import PRESETS, RoomRequest, StateEvent

Policy = Literal["off", "private", "all"]

ENCRYPTION: StateKey = ("m.room.encryption", "")
ALGORITHM = "m.megolm.v1.aes-sha2"
ENCRYPTED_STATE = ("encrypt_state_events", "io.element.msc4362.encrypt_state_events")
"""Parts of the content that say whether state is encrypted as well."""
JOIN_RULES: StateKey = ("m.room.join_rules", "")


def with_policy(request: RoomRequest, policy: Policy) -> RoomRequest:
    """What is asked for, with encryption where the policy of the server demands it."""
    if not demands_encryption(request, policy):
        return request
    given = [event for event in request.initial_state if event.place == ENCRYPTION]
    if given and all(event.content.get("algorithm") == ALGORITHM for event in given):
        return request
    kept = [event for event in request.initial_state if event.place != ENCRYPTION]
    encryption = StateEvent(*ENCRYPTION, {"algorithm": ALGORITHM})
    return replace(request, initial_state=(*kept, encryption))


def demands_encryption(request: RoomRequest, policy: Policy) -> bool:
    """Whether a new room is to be encrypted. Spaces are not: nothing is said in them."""
    if policy == "off" or request.is_space or request.is_of_the_server:
        return False
    return policy == "all" or is_private(request)


def is_private(request: RoomRequest) -> bool:
    """Whether a room is for those who are invited: by its preset, or whatever the preset says."""
    join_rules = [
        e.content.get("join_rule") for e in request.initial_state if e.place == JOIN_RULES
    ]
    return (
        request.preset is not PRESETS["public_chat"]
        or request.is_direct
        or join_rules[-1:] == ["invite"]
    )


def check_stays_encrypted(current: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
    """Raise `Forbidden` where an encrypted room would not be one any more, or encrypt less.

    `current` and `new` are contents of `m.room.encryption`; None stands for no event, and for one
    that is redacted.
    """
    algorithm = (current or {}).get("algorithm")
    if not isinstance(algorithm, str) or not algorithm or current is None:
        return
    if new is None or new.get("algorithm") != algorithm:
        raise Forbidden("Encryption cannot be turned off or changed once it is on")
    if any(current.get(name) is True and new.get(name) is not True for name in ENCRYPTED_STATE):
        raise Forbidden("The encryption of state cannot be turned off once it is on")
