"""From the event as it is stored and signed to the forms that clients see.

The hot path works on bytes: the canonical JSON of an event goes in, the JSON for a response comes
out. `unsigned` comes complete from the caller, as bytes that are put in place unread.
Source: client-server API, "Room event format"; room version 11, "Moving the `redacts` property".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from federation.protocol import canonical_json
from federation.protocol.room_versions import RoomVersion
from federation.protocol.sticky import STICKY


def render_client_event(
    encoded: bytes,
    event_id: str,
    room_id: str | None,
    unsigned: bytes | None,
    room_version: RoomVersion,
) -> bytes:
    """The JSON of an event for a client; without `room_id` where the response implies it."""
    event = build_client_event(decode_event(encoded, room_version), event_id, room_id, room_version)
    if unsigned is not None:
        event["unsigned"] = orjson.Fragment(unsigned)
    return dump_event(event)


def build_client_event(
    fields: Mapping[str, Any], event_id: str, room_id: str | None, room_version: RoomVersion
) -> dict[str, Any]:
    """The fields of an event that clients see, without `unsigned`.

    A redaction names its target at the top level and in the content, whatever the room version.
    """
    event: dict[str, Any] = {
        "content": fields["content"],
        "event_id": event_id,
        "origin_server_ts": fields["origin_server_ts"],
        "sender": fields["sender"],
        "type": fields["type"],
    }
    if room_id is not None:
        event["room_id"] = room_id
    if "state_key" in fields:
        event["state_key"] = fields["state_key"]
    if STICKY in fields:
        event[STICKY] = fields[STICKY]
    if fields["type"] == "m.room.redaction":
        _put_redacts_in_both_places(event, fields, room_version)
    return event


def render_stripped_event(encoded: bytes, room_version: RoomVersion) -> bytes:
    """The JSON of a state event as stripped state, for invites and knocks."""
    return dump_event(build_stripped_event(decode_event(encoded, room_version)))


def build_stripped_event(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The four fields of stripped state. Source: client-server API, "Stripped state"."""
    return {key: fields[key] for key in ("content", "sender", "state_key", "type")}


def render_federation_event(encoded: bytes, unsigned: bytes | None = None) -> bytes:
    """The event as it went over federation, for the filter's `event_format: federation`."""
    if unsigned is None:
        return encoded
    return b'%b,"unsigned":%b}' % (encoded[:-1], unsigned)


def decode_event(encoded: bytes, room_version: RoomVersion) -> dict[str, Any]:
    """The fields of an encoded event; integers of any size survive in versions that allow them."""
    decode = orjson.loads if room_version.strict_canonical_json else canonical_json.decode
    fields: dict[str, Any] = decode(encoded)
    return fields


def dump_event(event: Mapping[str, Any]) -> bytes:
    """The JSON of a built event, for responses."""
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        return _dump_large_integers(event)


def _dump_large_integers(event: Mapping[str, Any]) -> bytes:
    """The JSON of an event with integers beyond 64 bits, which orjson refuses."""
    unsigned = event.get("unsigned")
    plain = {key: value for key, value in event.items() if key != "unsigned"}
    encoded = canonical_json.encode_lax(plain)
    return encoded if unsigned is None else render_federation_event(encoded, _dump(unsigned))


def _dump(unsigned: Any) -> bytes:
    """The JSON of `unsigned`, whose former content may have such integers as well."""
    try:
        return orjson.dumps(unsigned)
    except orjson.JSONEncodeError:
        return canonical_json.encode_lax(unsigned)


def _put_redacts_in_both_places(
    event: dict[str, Any], fields: Mapping[str, Any], room_version: RoomVersion
) -> None:
    source = fields["content"] if room_version.redacts_in_content else fields
    if "redacts" in source:
        event["redacts"] = source["redacts"]
        event["content"] = {**fields["content"], "redacts": source["redacts"]}
