"""Making events of our own: hashes, signature, event ID and final bytes in one pass.

An event is written three times: whole for the content hash, redacted for signature and reference
hash, whole again with both. Its content, the part that can be large, is written once and its bytes
are put into all of them. Source: server-server API, "Adding hashes and signatures to outgoing
events".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from federation.protocol import canonical_json
from federation.protocol.content_hash import hash_base64
from federation.protocol.errors import InvalidEvent, TooLarge
from federation.protocol.event_format import (
    MAX_AUTH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_PREV_EVENTS,
    check_event_fields,
    max_integer,
    parse_pdu,
)
from federation.protocol.event_id import event_id_from_bytes, room_id_of_create_event
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId, is_within_bytes
from federation.protocol.pdu import Pdu
from federation.protocol.redaction import redact, redact_content
from federation.protocol.room_versions import EventFormat, RoomVersion
from federation.protocol.signatures import SigningKey, sign_bytes, sign_event
from federation.protocol.sticky import STICKY

ReferenceHashes = Mapping[EventId, Mapping[str, str]]
"""For the events that another one refers to: `event_id.reference_hashes` of each."""

_TEMPLATE_KEYS = frozenset(
    {
        "auth_events",
        "content",
        "depth",
        "origin_server_ts",
        "prev_events",
        "redacts",
        "room_id",
        "sender",
        "state_key",
        "type",
    }
)
_PLACEHOLDERS = {"event_id": "$", "hashes": {"sha256": ""}, "signatures": {}}
_LIMITED = ("type", "state_key", "sender", "room_id")


def build_event(
    *,
    room_version: RoomVersion,
    room_id: RoomId | None,
    sender: UserId,
    event_type: str,
    content: Mapping[str, Any],
    depth: int,
    origin_server_ts: int,
    prev_events: Sequence[EventId],
    auth_events: Sequence[EventId],
    server_name: ServerName,
    key: SigningKey,
    state_key: str | None = None,
    redacts: EventId | None = None,
    sticky_ms: int | None = None,
    opaque_id: str | None = None,
    hashes_of: ReferenceHashes | None = None,
) -> Pdu:
    """A complete event, signed by our server.

    `room_id` is None for the create event of room version 12 and for no other. Room versions 1 and
    2 need a fresh `opaque_id` to name the event and `hashes_of` all events referred to. With
    `sticky_ms` the event is sticky for so long.
    Raises `BadJson` for content without canonical form, `TooLarge` and `InvalidEvent` for what is
    beyond the limits.
    """
    pairs = room_version.event_format is EventFormat.V1
    template: dict[str, Any] = {
        "auth_events": _pairs(auth_events, hashes_of) if pairs else list(auth_events),
        "content": content,
        "depth": min(depth, max_integer(room_version)),
        "origin_server_ts": origin_server_ts,
        "prev_events": _pairs(prev_events, hashes_of) if pairs else list(prev_events),
        "sender": sender,
        "type": event_type,
    }
    if room_id is not None:
        template["room_id"] = room_id
    if state_key is not None:
        template["state_key"] = state_key
    if sticky_ms is not None:
        template[STICKY] = {"duration_ms": sticky_ms}
    if redacts is not None and room_version.redacts_in_content:
        template["content"] = {**content, "redacts": redacts}
    elif redacts is not None:
        template["redacts"] = redacts
    event_id, encoded = _finish(template, room_version, server_name, key, opaque_id)
    return Pdu(
        event_id,
        room_version,
        room_id or room_id_of_create_event(event_id),
        event_type,
        sender,
        state_key,
        template["content"],
        template["depth"],
        origin_server_ts,
        tuple(prev_events),
        tuple(auth_events),
        redacts,
        encoded,
    )


def complete_event(
    template: Mapping[str, Any],
    room_version: RoomVersion,
    server_name: ServerName,
    key: SigningKey,
    *,
    opaque_id: str | None = None,
) -> Pdu:
    """The event that another server's template (of `make_join`, `make_leave`, `make_knock`) gives.

    Nothing of the template is used but the fields that events have. Raises as `parse_pdu` does.
    """
    fields = {k: value for k, value in template.items() if k in _TEMPLATE_KEYS}
    check_event_fields({**fields, **_PLACEHOLDERS}, room_version)
    event_id, encoded = _finish(fields, room_version, server_name, key, opaque_id)
    return parse_pdu(canonical_json.decode(encoded), room_version, event_id=event_id)


def cosign_event(pdu: Pdu, server_name: ServerName, key: SigningKey) -> Pdu:
    """The same event with our signature added, as for invites and restricted joins."""
    fields = canonical_json.decode(pdu.encoded)
    signed = sign_event(fields, pdu.room_version, server_name, key)
    return parse_pdu(signed, pdu.room_version, event_id=pdu.event_id)


def _finish(
    fields: dict[str, Any],
    room_version: RoomVersion,
    server_name: ServerName,
    key: SigningKey,
    opaque_id: str | None,
) -> tuple[EventId, bytes]:
    """Event ID and bytes of an event; `fields` still lacks ID, hashes and signatures."""
    _check_limits(fields, room_version)
    fields = dict(fields)
    if room_version.event_format is EventFormat.V1:
        if opaque_id is None:
            raise ValueError(f"Room version {room_version.id} needs an opaque_id")
        fields["event_id"] = f"${opaque_id}:{server_name}"

    content = fields["content"]
    fields["content"] = orjson.Fragment(canonical_json.encode_for(content, room_version))
    fields["hashes"] = {"sha256": hash_base64(canonical_json.encode_checked(fields))}

    covered = redact(fields, room_version)
    kept = redact_content(fields["type"], content, room_version)
    if kept == content:
        covered["content"] = fields["content"]
    else:
        covered["content"] = orjson.Fragment(canonical_json.encode_for(kept, room_version))
    signed_bytes = canonical_json.encode_checked(covered)
    fields["signatures"] = {server_name: {key.key_id: sign_bytes(signed_bytes, key)}}

    encoded = canonical_json.encode_checked(fields)
    if len(encoded) > MAX_EVENT_BYTES:
        raise TooLarge(f"The event has {len(encoded)} bytes, more than {MAX_EVENT_BYTES}")
    if room_version.event_format is EventFormat.V1:
        return EventId(fields["event_id"]), encoded
    return event_id_from_bytes(signed_bytes, room_version), encoded


def _check_limits(fields: Mapping[str, Any], room_version: RoomVersion) -> None:
    for name in _LIMITED:
        if not is_within_bytes(fields.get(name, "")):
            raise TooLarge(f"`{name}` is longer than 255 bytes")
    if len(fields["prev_events"]) > MAX_PREV_EVENTS or len(fields["auth_events"]) > MAX_AUTH_EVENTS:
        raise InvalidEvent("The event refers to too many events")
    makes_room = room_version.create_event_is_room_id and fields["type"] == "m.room.create"
    if makes_room is ("room_id" in fields):
        raise InvalidEvent("Only the create event of room version 12 is without room ID")


def _pairs(event_ids: Sequence[EventId], hashes_of: ReferenceHashes | None) -> list[list[Any]]:
    hashes = hashes_of or {}
    return [[event_id, hashes[event_id]] for event_id in event_ids]
