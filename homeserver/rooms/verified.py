"""Events of other servers made fit to be looked at: format, signatures, hashes.

Source: server-server API, "Checks performed on receipt of a PDU", steps 1 to 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from federation.protocol.content_hash import check_content_hash
from federation.protocol.errors import MatrixError
from federation.protocol.event_format import parse_pdu
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from federation.protocol.redaction import redact
from federation.protocol.room_versions import RoomVersion
from homeserver.rooms.remote_events import Fields, Signatures


@dataclass(slots=True)
class Verified:
    """Events that may be looked at, and why others may not, by ID."""

    pdus: dict[EventId, Pdu] = field(default_factory=dict)
    refused: dict[EventId, str] = field(default_factory=dict)


def identify(
    events: Sequence[Fields], room_id: str, version: RoomVersion
) -> tuple[dict[EventId, Fields], dict[EventId, str]]:
    """Events of the room by ID, and those that belong elsewhere or are no events of the version.

    Something whose ID cannot even be told is passed over.
    """
    found: dict[EventId, Fields] = {}
    refused: dict[EventId, str] = {}
    for fields in events:
        try:
            event_id = event_id_of(fields, version)
        except (MatrixError, TypeError, AttributeError, KeyError):
            continue
        try:
            pdu = parse_pdu(fields, version, event_id=event_id)
        except MatrixError as error:
            refused[event_id] = error.message
            continue
        if pdu.room_id == room_id:
            found[event_id] = fields
        else:
            refused[event_id] = f"the event is of room {pdu.room_id}"
    return found, refused


async def verify_events(
    signatures: Signatures, events: Sequence[Fields], room_id: str, version: RoomVersion
) -> Verified:
    """Check events that another server has given us.

    An event whose content hash is wrong is redacted: what its signatures vouch for is kept.
    """
    found, refused = identify(events, room_id, version)
    verified = Verified(refused=refused)
    problems = await signatures.check_events(list(found.values()), version)
    for (event_id, fields), problem in zip(found.items(), problems, strict=True):
        if problem is not None:
            verified.refused[event_id] = problem
            continue
        kept = fields if check_content_hash(fields) else redact(fields, version)
        verified.pdus[event_id] = parse_pdu(kept, version, event_id=event_id)
    return verified


def in_order(pdus: Mapping[EventId, Pdu]) -> list[Pdu]:
    """Each event after those of the others that it refers to; ties by depth and ID.

    Events that refer to each other in a circle, which valid hashes rule out, are left out.
    """
    waiting = {
        event_id: {i for i in (*pdu.prev_events, *pdu.auth_events) if i in pdus and i != event_id}
        for event_id, pdu in pdus.items()
    }
    followers: dict[EventId, list[EventId]] = {}
    for event_id, before in waiting.items():
        for other in before:
            followers.setdefault(other, []).append(event_id)
    ready = sorted((i for i, before in waiting.items() if not before), key=lambda i: rank(pdus[i]))
    ordered: list[Pdu] = []
    while ready:
        event_id = ready.pop(0)
        ordered.append(pdus[event_id])
        freed = []
        for follower in followers.get(event_id, ()):
            waiting[follower].discard(event_id)
            if not waiting[follower]:
                freed.append(follower)
        ready += sorted(freed, key=lambda i: rank(pdus[i]))
    return ordered


def rank(pdu: Pdu) -> tuple[int, str]:
    """Where an event stands among others that it does not refer to."""
    return (pdu.depth, pdu.event_id)
