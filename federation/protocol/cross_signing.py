"""Cross-signing keys: their shape, what has to sign them, and what they and devices may sign.

Source: client-server API, "Cross-signing".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nacl.bindings import crypto_sign_PUBLICKEYBYTES

from federation.protocol.device_keys import KeySignature, is_same_but_signatures, verify_key_of
from federation.protocol.errors import BadJson, BadSignature, InvalidParam, SignatureInvalid
from federation.protocol.identifiers import UserId
from federation.protocol.signatures import ALGORITHM, signatures_of, verify_json
from federation.protocol.unpadded_base64 import decode_base64

MASTER = "master"
SELF_SIGNING = "self_signing"
USER_SIGNING = "user_signing"
USAGES = (MASTER, SELF_SIGNING, USER_SIGNING)


@dataclass(frozen=True, slots=True)
class CrossSigningKey:
    """A public key and the object in which its user publishes it."""

    usage: str
    public_key: str
    fields: Mapping[str, Any]

    @property
    def key_id(self) -> str:
        """The ID under which the key signs."""
        return f"{ALGORITHM}:{self.public_key}"

    @property
    def verify_key(self) -> bytes:
        """The public key, 32 bytes."""
        return decode_base64(self.public_key)


def parse_cross_signing_key(fields: Mapping[str, Any], usage: str, user_id: str) -> CrossSigningKey:
    """A user's key for a usage. Raises `BadJson`, or `InvalidParam` for another user's key."""
    if fields.get("user_id") != user_id:
        raise InvalidParam("The key is another user's")
    usages, by_id = fields.get("usage"), fields.get("keys")
    if not isinstance(usages, list) or usage not in usages:
        raise BadJson(f"The key is not for the usage {usage!r}")
    if not isinstance(by_id, dict) or len(by_id) != 1:
        raise BadJson("'keys' must be an object with one key")
    key_id, public_key = next(iter(by_id.items()))
    if not isinstance(public_key, str) or key_id != f"{ALGORITHM}:{public_key}":
        raise BadJson("The ID of the key must be ed25519 and the public key")
    if len(verify_key_of(fields, key_id) or b"") != crypto_sign_PUBLICKEYBYTES:
        raise BadJson("The public key is not an ed25519 key in Base64")
    return CrossSigningKey(usage, public_key, fields)


def find_cross_signing_key(fields: object, usage: str, user_id: str) -> CrossSigningKey | None:
    """The key, or None for what is none, as it may come from another server."""
    try:
        return (
            parse_cross_signing_key(fields, usage, user_id) if isinstance(fields, Mapping) else None
        )
    except (BadJson, InvalidParam):
        return None


def check_signed_by(key: CrossSigningKey, user_id: str, master: CrossSigningKey) -> None:
    """Check that a key is signed by the user's master key. Raises `BadSignature`."""
    try:
        verify_json(key.fields, user_id, master.key_id, master.verify_key)
    except SignatureInvalid as error:
        raise BadSignature(error.message) from error


def has_new_key(
    given: Mapping[str, CrossSigningKey], stored: Mapping[str, CrossSigningKey]
) -> bool:
    """Whether keys are given, by usage, that the user does not have already."""
    return any(
        (known := stored.get(usage)) is None or not is_same_but_signatures(key.fields, known.fields)
        for usage, key in given.items()
    )


def check_new_signatures(
    stored: Mapping[str, Any],
    signed: Mapping[str, Any],
    signer: UserId,
    verify_keys: Mapping[str, bytes],
) -> list[KeySignature]:
    """The signatures that a user has newly made for a key object, each found good.

    `verify_keys` are the public keys by which the user may sign this object, by their IDs;
    signatures by others are passed over. Raises `BadSignature` if the object is not the one
    that is stored, if a signature is wrong, or if there is none that counts.
    """
    if not is_same_but_signatures(stored, signed):
        raise BadSignature("What is signed is not the key that is known")
    present = signatures_of(stored, signer)
    found: list[KeySignature] = []
    for key_id, signature in signatures_of(signed, signer).items():
        if key_id not in verify_keys or present.get(key_id) == signature:
            continue
        try:
            verify_json(signed, signer, key_id, verify_keys[key_id])
        except SignatureInvalid as error:
            raise BadSignature(error.message) from error
        found.append(KeySignature(signer, key_id, str(signature)))
    if not found and not signatures_of(signed, signer).keys() & verify_keys.keys():
        raise BadSignature("There is no signature by a key that may sign this")
    return found
