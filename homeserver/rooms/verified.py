"""Events of other servers made fit to be looked at: format, signatures, hashes.

Source: server-server API, "Checks performed on receipt of a PDU", steps 1 to 3.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.protocol.content_hash import check_content_hash
from federation.protocol.errors import MatrixError
from federation.protocol.event_format import parse_pdu
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from federation.protocol.redaction import redact
from federation.protocol.room_versions import EventFormat, RoomVersion
from homeserver.rooms.aside import aside
from homeserver.rooms.live import LiveRoom
from homeserver.rooms.remote_events import Fields, Signatures
from storage.database import Database


@dataclass(slots=True)
class Verified:
    """Events that may be looked at, and why others may not, by ID."""

    pdus: dict[EventId, Pdu] = field(default_factory=dict)
    refused: dict[EventId, str] = field(default_factory=dict)
    told: Mapping[EventId, Fields] = field(default_factory=dict)
    """The objects that they came as, the last of each event."""


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
        if pdu.room_id != room_id:
            refused[event_id] = f"the event is of room {pdu.room_id}"
        elif not is_storable(pdu):
            refused[event_id] = "the event has a NUL in a name, which cannot be kept"
        else:
            found[event_id] = fields
    return found, refused


def is_storable(pdu: Pdu) -> bool:
    """Whether the names in an event are texts that a database takes."""
    names = (pdu.event_id, pdu.type, pdu.sender, pdu.state_key or "")
    return not any("\0" in name for name in (*names, *pdu.prev_events, *pdu.auth_events))


async def verify_events(
    signatures: Signatures, events: Sequence[Fields], room_id: str, version: RoomVersion
) -> Verified:
    """Check events that another server has given us.

    An event whose content hash is wrong is redacted: what its signatures vouch for is kept.
    """
    count = len(events)
    found, refused = await aside(lambda: identify(events, room_id, version), count)
    problems = await signatures.check_events(list(found.values()), version)
    problem_of = dict(zip(found, problems, strict=True))
    refused |= {event_id: why for event_id, why in problem_of.items() if why is not None}
    passed = {i: fields for i, fields in found.items() if problem_of[i] is None}
    pdus = await aside(lambda: {i: keep(i, f, version) for i, f in passed.items()}, count)
    return Verified(pdus, refused, found)


def keep(event_id: EventId, fields: Fields, version: RoomVersion) -> Pdu:
    """What is kept of an event whose signatures hold."""
    kept = fields if check_content_hash(fields) else redact(fields, version)
    return parse_pdu(kept, version, event_id=event_id)


SELECT_TAKEN = "SELECT event_id FROM events WHERE event_id = ANY($1::text[]) AND room_nid <> $2"


async def verify_for_room(
    db: Database, signatures: Signatures, room: LiveRoom, events: Sequence[Fields]
) -> Verified:
    """Check events that another server has given us of a room that is here.

    In room versions 1 and 2, whose servers name their events as they like, an event of another
    room may have the same ID. Such an event is refused, for here an ID stands for one event.
    """
    verified = await verify_events(signatures, events, room.room_id, room.version)
    if room.version.event_format is EventFormat.V1:
        for row in await db.fetch(SELECT_TAKEN, list(verified.pdus), room.room_nid):
            del verified.pdus[EventId(row[0])]
            verified.refused[EventId(row[0])] = "another room has an event of this ID"
    return verified


def in_order(pdus: Mapping[EventId, Pdu]) -> list[Pdu]:
    """Each event after those of the others that it refers to; ties by depth and ID.

    Events that refer to each other in a circle are left out. In room versions 1 and 2, where
    servers name their events as they like, there can be such.
    """
    waiting = {
        event_id: {i for i in (*pdu.prev_events, *pdu.auth_events) if i in pdus}
        for event_id, pdu in pdus.items()
    }
    followers: dict[EventId, list[EventId]] = {}
    for event_id, before in waiting.items():
        for other in before:
            followers.setdefault(other, []).append(event_id)
    ready = deque(
        sorted((i for i, before in waiting.items() if not before), key=lambda i: rank(pdus[i]))
    )
    ordered: list[Pdu] = []
    while ready:
        event_id = ready.popleft()
        ordered.append(pdus[event_id])
        freed = []
        for follower in followers.get(event_id, ()):
            waiting[follower].discard(event_id)
            if not waiting[follower]:
                freed.append(follower)
        ready += sorted(freed, key=lambda i: rank(pdus[i]))
    return ordered


def reached_from(
    starts: Iterable[EventId],
    pdus: Mapping[EventId, Pdu],
    references: Callable[[Pdu], Iterable[EventId]],
) -> dict[EventId, Pdu]:
    """Those of the events that the starts lead to, one reference after the other.

    What a server tells besides is none of the business that it was asked about.
    """
    reached: dict[EventId, Pdu] = {}
    waiting = list(starts)
    while waiting:
        event_id = waiting.pop()
        pdu = pdus.get(event_id)
        if pdu is not None and event_id not in reached:
            reached[event_id] = pdu
            waiting += references(pdu)
    return reached


def rank(pdu: Pdu) -> tuple[int, str]:
    """Where an event stands among others that it does not refer to."""
    return (pdu.depth, pdu.event_id)


def tell_of_refusals(
    log: logging.Logger, origin: str, room_id: str, results: Mapping[EventId, str | None]
) -> None:
    """Log one line for all events of a server that are refused."""
    refused = ((event_id, reason) for event_id, reason in results.items() if reason is not None)
    first = next(refused, None)
    if first is not None:
        count = f"{1 + sum(1 for _ in refused)} of {len(results)} events"
        log.info("%s of %s from %s refused, %s: %s", count, room_id, origin, *first)
