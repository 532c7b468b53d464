"""Whether a redaction takes effect.

From room version 3 on a redaction is always let into the room; whether it is applied to its
target is decided apart. Source: room version 3, "Handling redactions".
"""

from federation.protocol.identifiers import server_of
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import PowerLevels


def may_redact(redaction: Pdu, target_sender: str, power: PowerLevels | None) -> bool:
    """Whether the sender of a redaction may redact an event of `target_sender`."""
    if redaction.room_version.redaction_checked_on_auth:
        return True
    if server_of(redaction.sender) == server_of(target_sender):
        return True
    return power is not None and power.of(redaction.sender) >= power.redact
