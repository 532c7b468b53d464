"""The rule for `m.room.redaction` of room versions 1 and 2."""

from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.identifiers import server_of
from federation.protocol.pdu import Pdu


def check_redaction(event: Pdu, state: AuthState) -> None:
    """Authorise redacting an event: any with the redact level, else one of one's own server.

    In these versions the IDs of events name their servers. Later versions decide when the
    redaction is applied instead.

    Source: room version 1, authorisation rule 11.
    Raises `AuthRuleFailed`.
    """
    if state.power.of(event.sender) >= state.power.redact:
        return
    own = event.redacts is not None and server_of(event.redacts) == server_of(event.event_id)
    require(own, "redaction.level", f"{event.sender} may not redact events of other servers")
