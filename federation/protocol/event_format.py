"""The shape of an event: required fields, their types and the size limits of each room version.

Source: room versions, "Event format"; client-server API, "Size limits".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from federation.protocol import canonical_json
from federation.protocol.errors import InvalidEvent, TooLarge
from federation.protocol.event_id import event_id_of, room_id_of_create_event
from federation.protocol.identifiers import (
    MAX_ID_BYTES,
    EventId,
    RoomId,
    UserId,
    is_domain_room_id,
    is_hash_room_id,
    is_valid_server_name,
    is_within_bytes,
    server_of,
)
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import EventFormat, RoomVersion

MAX_EVENT_BYTES = 65_536
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10


def parse_pdu(
    fields: Mapping[str, Any], room_version: RoomVersion, *, event_id: EventId | None = None
) -> Pdu:
    """The event in a JSON object from another server, without its `unsigned`.

    `event_id` spares the hashing where the caller knows the ID. Hashes and signatures are present
    but not verified here. Raises `InvalidEvent` or `BadJson` for what no room may hold, `TooLarge`
    for what is beyond a limit.
    """
    if "unsigned" in fields:
        fields = {key: value for key, value in fields.items() if key != "unsigned"}
    encoded = canonical_json.encode_for(dict(fields), room_version)
    if len(encoded) > MAX_EVENT_BYTES:
        raise TooLarge(f"The event has {len(encoded)} bytes, more than {MAX_EVENT_BYTES}")
    check_event_fields(fields, room_version)
    if event_id is None:
        event_id = event_id_of(fields, room_version)
    room_id = fields.get("room_id") or room_id_of_create_event(event_id)
    return _view(fields, room_version, event_id, room_id, encoded)


def parse_stored_pdu(
    encoded: bytes, room_version: RoomVersion, event_id: EventId, room_id: RoomId
) -> Pdu:
    """The event in bytes that `parse_pdu` or `build_event` once made; nothing is checked."""
    if room_version.strict_canonical_json:
        return _view(orjson.loads(encoded), room_version, event_id, room_id, encoded)
    return _view(canonical_json.decode(encoded), room_version, event_id, room_id, encoded)


def check_event_fields(fields: Mapping[str, Any], room_version: RoomVersion) -> None:
    """Check required fields, types and the limits on fields; raises `InvalidEvent`, `TooLarge`."""
    for name in ("type", "sender"):
        _check_text(fields, name, room_version)
    if "state_key" in fields:
        _check_text(fields, "state_key", room_version)
    for name in ("content", "hashes", "signatures"):
        if not isinstance(fields.get(name), dict):
            raise InvalidEvent(f"`{name}` is absent or not an object")
    _check_hashes_and_signatures(fields)
    _check_sender(fields["sender"])
    _check_integer(fields, "depth", room_version)
    _check_integer(fields, "origin_server_ts", room_version)
    _check_references(fields, "prev_events", MAX_PREV_EVENTS, room_version)
    _check_references(fields, "auth_events", MAX_AUTH_EVENTS, room_version)
    _check_room_id(fields, room_version)
    if room_version.event_format is EventFormat.V1:
        _check_text(fields, "event_id", room_version)


def max_integer(room_version: RoomVersion) -> int:
    """The highest `depth` and `origin_server_ts`; from here on a room's depth stays the same."""
    return canonical_json.MAX_INTEGER if room_version.strict_canonical_json else 2**63 - 1


def check_text_length(value: str, name: str, room_version: RoomVersion) -> None:
    """Check the limit of 255 on a field of an event from anywhere; raises `TooLarge`.

    The specification counts bytes. Until room version 10 rooms hold events that other servers had
    let in by counting code points, and without them the room graph would have holes.
    """
    if room_version.strict_byte_limits:
        too_long = not is_within_bytes(value)
    else:
        too_long = len(value) > MAX_ID_BYTES
    if too_long:
        raise TooLarge(f"`{name}` is longer than {MAX_ID_BYTES}")


def _view(
    fields: Mapping[str, Any],
    room_version: RoomVersion,
    event_id: EventId,
    room_id: RoomId,
    encoded: bytes,
) -> Pdu:
    event_type, content = fields["type"], fields["content"]
    prev_events, auth_events = fields["prev_events"], fields["auth_events"]
    if room_version.event_format is EventFormat.V1:
        prev_events = [reference[0] for reference in prev_events]
        auth_events = [reference[0] for reference in auth_events]
    redacts = None
    if event_type == "m.room.redaction":
        redacts = (content if room_version.redacts_in_content else fields).get("redacts")
    return Pdu(
        event_id,
        room_version,
        room_id,
        event_type,
        UserId(fields["sender"]),
        fields.get("state_key"),
        content,
        fields["depth"],
        fields["origin_server_ts"],
        tuple(prev_events),
        tuple(auth_events),
        EventId(redacts) if isinstance(redacts, str) and "\0" not in redacts else None,
        encoded,
    )


def _check_text(fields: Mapping[str, Any], name: str, room_version: RoomVersion) -> None:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidEvent(f"`{name}` is absent or not a string")
    check_text_length(value, name, room_version)


def _check_sender(sender: str) -> None:
    if not sender.startswith("@") or not is_valid_server_name(server_of(sender)):
        raise InvalidEvent(f"The sender {sender!r} is not a user ID")


def _check_hashes_and_signatures(fields: Mapping[str, Any]) -> None:
    if not isinstance(fields["hashes"].get("sha256"), str):
        raise InvalidEvent("`hashes` has no sha256")
    if not all(isinstance(by_key, dict) for by_key in fields["signatures"].values()):
        raise InvalidEvent("`signatures` does not hold objects")


def _check_integer(fields: Mapping[str, Any], name: str, room_version: RoomVersion) -> None:
    value = fields.get(name)
    if type(value) is not int:
        raise InvalidEvent(f"`{name}` is absent or not an integer")
    if not 0 <= value <= max_integer(room_version):
        raise InvalidEvent(f"`{name}` is out of range")


def _check_references(
    fields: Mapping[str, Any], name: str, max_count: int, room_version: RoomVersion
) -> None:
    references = fields.get(name)
    if not isinstance(references, list):
        raise InvalidEvent(f"`{name}` is absent or not an array")
    if len(references) > max_count:
        raise InvalidEvent(f"`{name}` has {len(references)} entries, more than {max_count}")
    pairs = room_version.event_format is EventFormat.V1
    for reference in references:
        event_id = _paired_id(reference, name) if pairs else reference
        if not isinstance(event_id, str) or not event_id.startswith("$"):
            raise InvalidEvent(f"`{name}` holds something that is not an event ID")
        check_text_length(event_id, name, room_version)


def _paired_id(reference: object, name: str) -> object:
    match reference:
        case [event_id, dict()]:
            return event_id
    raise InvalidEvent(f"`{name}` holds something that is not a pair of event ID and hashes")


def _check_room_id(fields: Mapping[str, Any], room_version: RoomVersion) -> None:
    room_id = fields.get("room_id")
    if room_version.create_event_is_room_id and fields["type"] == "m.room.create":
        if "room_id" in fields:
            raise InvalidEvent("A create event makes its room ID and cannot have one")
        return
    if not isinstance(room_id, str):
        raise InvalidEvent("`room_id` is absent or not a string")
    by_hash = room_version.create_event_is_room_id
    if not (is_hash_room_id(room_id) if by_hash else is_domain_room_id(room_id)):
        raise InvalidEvent(f"{room_id!r} is not a room ID of room version {room_version.id}")
