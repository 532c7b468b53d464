"""What LiveKit tells of its participants.

Source: LiveKit, "Webhooks": the body's SHA-256 is signed with the API secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from federation.protocol.canonical_json import decode
from federation.protocol.errors import MatrixError, Unauthorized
from homeserver.calls.leaves import Key, Word
from homeserver.calls.signed_tokens import ApiKey, BadToken

WORDS: Mapping[str, Word] = {
    "participant_joined": Word.CONNECTED,
    "participant_left": Word.GONE,
    "participant_connection_aborted": Word.BROKEN_OFF,
}


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a participant."""

    word: Word
    key: Key


def verify_webhook(body: bytes, authorization: str, key: ApiKey, now_s: int) -> None:
    """Raise `Unauthorized` for a webhook that does not come from LiveKit."""
    try:
        claims = key.verify(authorization.removeprefix("Bearer "), now_s)
    except BadToken as error:
        raise Unauthorized(f"The webhook is not signed by LiveKit: {error}") from error
    digest = base64.b64encode(hashlib.sha256(body).digest())
    signed = str(claims.get("sha256", "")).encode("utf-8", "replace")
    if not hmac.compare_digest(signed, digest):
        raise Unauthorized("The webhook is not what LiveKit has signed")


def read_webhook(body: bytes) -> Told | None:
    """What a webhook tells of a participant; None for one that tells something else."""
    try:
        told = decode(body)
    except MatrixError:
        return None
    if not isinstance(told, Mapping):
        return None
    word = WORDS.get(str(told.get("event")))
    room, participant = told.get("room"), told.get("participant")
    if word is None or not isinstance(room, Mapping) or not isinstance(participant, Mapping):
        return None
    name, identity = room.get("name"), participant.get("identity")
    if not isinstance(name, str) or not isinstance(identity, str):
        return None
    return Told(word, (name, identity))
