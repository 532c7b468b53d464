"""What rooms and participants are called on LiveKit, which is not to know who they are.

Source: MSC4195, "Mapping MatrixRTC members to LiveKit". Clients work out the names of participants
themselves, so these must be exact to the byte.
"""

import hashlib
import json

from federation.protocol import canonical_json
from federation.protocol.unpadded_base64 import encode_base64

CALL_SLOT = "m.call#ROOM"
"""The slot of the clients that name none."""

_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
"""The stand-alone token service escapes these in what it hashes, and clients do as it does."""


def room_name(room_id: str, slot_id: str) -> str:
    """The LiveKit room of a slot, whichever way its token is asked for."""
    return _hash(_escaped_json(room_id, slot_id))


def participant_identity(user_id: str, member_id: str) -> str:
    """The participant of a membership, as MSC4195 has it."""
    return _hash(canonical_json.encode([user_id, member_id]))


def device_identity(user_id: str, device_id: str, member_id: str) -> str:
    """The participant of a membership, as clients had it who ask the token service for a slot."""
    return _hash(_escaped_json(user_id, device_id, member_id))


def plain_identity(user_id: str, device_id: str) -> str:
    """The participant that a device is, as clients had it who ask the token service for a room."""
    return f"{user_id}:{device_id}"


def _escaped_json(*texts: str) -> bytes:
    array = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)
    return array.encode("utf-8", "surrogatepass")


def _hash(data: bytes) -> str:
    return encode_base64(hashlib.sha256(data).digest())
