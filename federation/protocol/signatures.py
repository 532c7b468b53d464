"""Signing JSON and events with ed25519, and verifying them.

An event's signatures cover the same bytes as its reference hash, `event_id.reference_bytes`.
Source: appendices, "Signing JSON"; server-server API, "Signing Events".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_PUBLICKEYBYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import CryptoError

from federation.protocol import canonical_json
from federation.protocol.errors import InvalidParam, SignatureInvalid
from federation.protocol.event_id import reference_bytes
from federation.protocol.identifiers import KeyId, ServerName, server_of
from federation.protocol.room_versions import EventFormat, RoomVersion
from federation.protocol.unpadded_base64 import decode_base64, encode_base64

ALGORITHM = "ed25519"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private ed25519 key and the name it has among its server's keys."""

    key_id: KeyId
    secret: bytes = field(repr=False)
    """Seed and public key, as libsodium wants them."""

    @property
    def verify_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self.secret[crypto_sign_SEEDBYTES:]

    @property
    def seed(self) -> bytes:
        """The private key, 32 bytes."""
        return self.secret[:crypto_sign_SEEDBYTES]

    @property
    def version(self) -> str:
        """The key ID without its algorithm."""
        return self.key_id.partition(":")[2]


def signing_key_from_seed(version: str, seed: bytes) -> SigningKey:
    """The key `ed25519:version`; new ones are made from 32 random bytes."""
    return SigningKey(KeyId(f"{ALGORITHM}:{version}"), crypto_sign_seed_keypair(seed)[1])


def parse_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """The keys of a signedjson key file: a line `ed25519 version base64-seed` for each.

    Raises `InvalidParam` that names the line but not its content.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return tuple(_parse_key_line(number, line) for number, line in lines)


def signing_key_text(key: SigningKey) -> str:
    """The key's line in a signedjson key file, with its end."""
    return f"{ALGORITHM} {key.version} {encode_base64(key.seed)}\n"


def sign_bytes(message: bytes, key: SigningKey) -> str:
    """The signature of a message, in unpadded Base64."""
    return encode_base64(crypto_sign(message, key.secret)[:crypto_sign_BYTES])


def verify_bytes(message: bytes, signature: object, verify_key: bytes) -> None:
    """Check a signature in Base64, as JSON carries it; raises `SignatureInvalid`."""
    if not isinstance(signature, str):
        raise SignatureInvalid("The signature is not a string")
    try:
        decoded = decode_base64(signature)
    except ValueError as error:
        raise SignatureInvalid("The signature is not Base64") from error
    if len(decoded) != crypto_sign_BYTES or len(verify_key) != crypto_sign_PUBLICKEYBYTES:
        raise SignatureInvalid("The signature or the key has the wrong length")
    try:
        crypto_sign_open(decoded + message, verify_key)
    except CryptoError as error:
        raise SignatureInvalid("The signature does not match") from error


def sign_json(obj: Mapping[str, Any], server_name: str, key: SigningKey) -> dict[str, Any]:
    """A copy of the object with the signature added to those it has.

    `server_name` may be any entity that signs, such as a user ID for cross-signing.
    Raises `BadJson` if the object has no canonical form.
    """
    return add_signature(obj, server_name, key.key_id, sign_bytes(signing_bytes(obj), key))


def verify_json(obj: Mapping[str, Any], server_name: str, key_id: str, verify_key: bytes) -> None:
    """Check the signature of an entity by one of its keys; raises `SignatureInvalid`."""
    signature = signatures_of(obj, server_name).get(KeyId(key_id))
    if signature is None:
        raise SignatureInvalid(f"No signature by {key_id} of {server_name}")
    verify_bytes(signing_bytes(obj), signature, verify_key)


def signing_bytes(obj: Mapping[str, Any]) -> bytes:
    """What the signature of a JSON object covers: all but `signatures` and `unsigned`.

    Numbers are taken as they are, for a signed transaction may hold events of old room versions.
    Raises `BadJson`.
    """
    covered = {k: v for k, v in obj.items() if k not in ("signatures", "unsigned")}
    return canonical_json.encode_lax(covered)


def sign_event(
    fields: Mapping[str, Any], room_version: RoomVersion, server_name: ServerName, key: SigningKey
) -> dict[str, Any]:
    """A copy of the event, which has its `hashes` already, with the server's signature added."""
    signature = sign_bytes(reference_bytes(fields, room_version), key)
    return add_signature(fields, server_name, key.key_id, signature)


def verify_event(
    fields: Mapping[str, Any],
    room_version: RoomVersion,
    keys: Mapping[ServerName, Mapping[KeyId, bytes]],
) -> None:
    """Check that every server that must have signed the event did so.

    `keys` holds the servers' keys that count at the event's `origin_server_ts`; a signature by any
    other key is passed over. Of each server at least one signature must be checkable, and all
    checkable ones must match. Raises `SignatureInvalid`, `BadJson`.
    """
    message = reference_bytes(fields, room_version)
    for server_name in signature_servers_needed(fields, room_version):
        known = keys.get(server_name, {})
        signatures = signatures_of(fields, server_name)
        checkable = [key_id for key_id in signatures if key_id in known]
        if not checkable:
            raise SignatureInvalid(f"No signature by a known key of {server_name}")
        for key_id in checkable:
            verify_bytes(message, signatures[key_id], known[key_id])


def signature_servers_needed(
    fields: Mapping[str, Any], room_version: RoomVersion
) -> tuple[ServerName, ...]:
    """The servers whose signatures make the event count, each once."""
    needed: list[ServerName] = []
    if not _is_third_party_invite(fields):
        needed.append(_server_of_field(fields.get("sender"), "sender"))
    if room_version.event_format is EventFormat.V1:
        needed.append(_server_of_field(fields.get("event_id"), "event_id"))
    if room_version.restricted_joins and fields.get("type") == "m.room.member":
        user_id = _object_or_empty(fields.get("content")).get("join_authorised_via_users_server")
        if user_id is not None:
            needed.append(_server_of_field(user_id, "join_authorised_via_users_server"))
    return tuple(dict.fromkeys(needed))


def signatures_of(obj: Mapping[str, Any], server_name: str) -> Mapping[KeyId, Any]:
    """The entity's ed25519 signatures by key ID; empty if there are none or they are malformed."""
    by_key = _object_or_empty(_object_or_empty(obj.get("signatures")).get(server_name))
    return {KeyId(k): signature for k, signature in by_key.items() if k.startswith(ALGORITHM + ":")}


def add_signature(
    obj: Mapping[str, Any], server_name: str, key_id: KeyId, signature: str
) -> dict[str, Any]:
    """A copy of the object with one more signature."""
    signatures = _object_or_empty(obj.get("signatures"))
    by_key = {**_object_or_empty(signatures.get(server_name)), key_id: signature}
    return {**obj, "signatures": {**signatures, server_name: by_key}}


def _parse_key_line(number: int, line: str) -> SigningKey:
    try:
        algorithm, version, seed_text = line.split()
        seed = decode_base64(seed_text)
    except ValueError:
        raise InvalidParam(f"Line {number} is not `ed25519 version base64-seed`") from None
    if algorithm != ALGORITHM or len(seed) != crypto_sign_SEEDBYTES:
        raise InvalidParam(f"Line {number} is not an ed25519 key of {crypto_sign_SEEDBYTES} bytes")
    return signing_key_from_seed(version, seed)


def _is_third_party_invite(fields: Mapping[str, Any]) -> bool:
    content = _object_or_empty(fields.get("content"))
    return (
        fields.get("type") == "m.room.member"
        and content.get("membership") == "invite"
        and isinstance(content.get("third_party_invite"), dict)
    )


def _object_or_empty(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _server_of_field(identifier: object, field_name: str) -> ServerName:
    server_name = server_of(identifier) if isinstance(identifier, str) else ""
    if not server_name:
        raise SignatureInvalid(f"The event's {field_name} names no server that could have signed")
    return ServerName(server_name)
