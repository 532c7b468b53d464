"""The reference hash and the event ID that it gives.

Source: server-server API, "Calculating the reference hash for an event"; room versions 3 and 4.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.errors import InvalidEvent
from federation.protocol.identifiers import EventId, RoomId
from federation.protocol.redaction import redact
from federation.protocol.room_versions import EventFormat, RoomVersion
from federation.protocol.unpadded_base64 import encode_base64, encode_urlsafe_base64


def reference_bytes(fields: Mapping[str, Any], room_version: RoomVersion) -> bytes:
    """What the reference hash and the event's signatures cover: the redacted event, less these.

    Raises `BadJson` if that has no canonical form.
    """
    covered = redact(fields, room_version)
    covered.pop("signatures", None)
    return canonical_json.encode_for(covered, room_version)


def reference_hash(fields: Mapping[str, Any], room_version: RoomVersion) -> bytes:
    """The SHA-256 of `reference_bytes`."""
    return sha256(reference_bytes(fields, room_version)).digest()


def reference_hashes(fields: Mapping[str, Any], room_version: RoomVersion) -> dict[str, str]:
    """The hashes that stand beside the ID in references to an event of room versions 1 and 2."""
    return {"sha256": encode_base64(reference_hash(fields, room_version))}


def event_id_of(fields: Mapping[str, Any], room_version: RoomVersion) -> EventId:
    """The ID of a complete event: its `event_id` in room versions 1 and 2, else from its hash.

    Raises `InvalidEvent` if `event_id` is needed and absent, `BadJson` if it has no canonical form.
    """
    if room_version.event_format is EventFormat.V1:
        event_id = fields.get("event_id")
        if not isinstance(event_id, str):
            raise InvalidEvent("The event has no event_id")
        return EventId(event_id)
    return event_id_from_bytes(reference_bytes(fields, room_version), room_version)


def event_id_from_bytes(covered: bytes, room_version: RoomVersion) -> EventId:
    """The event ID for `reference_bytes`, in room versions 3 and later."""
    urlsafe = room_version.event_format is not EventFormat.V3
    encode = encode_urlsafe_base64 if urlsafe else encode_base64
    return EventId("$" + encode(sha256(covered).digest()))


def room_id_of_create_event(event_id: EventId) -> RoomId:
    """The room that a create event of room version 12 makes."""
    return RoomId("!" + event_id[1:])
