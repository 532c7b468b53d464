"""Keys of devices: their shape, and whether a device may have them.

Source: client-server API, "Key Distribution"; `DeviceKeys`, `POST /keys/upload`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, BadSignature, InvalidParam, SignatureInvalid
from federation.protocol.identifiers import UserId, is_within_bytes
from federation.protocol.signatures import ALGORITHM, signatures_of, verify_json
from federation.protocol.unpadded_base64 import decode_base64

MAX_KEYS = 1_000
"""One-time keys of one upload."""


@dataclass(frozen=True, slots=True)
class OneTimeKey:
    """A one-time or fallback key; `key` is JSON."""

    algorithm: str
    key_id: str
    key: bytes


@dataclass(frozen=True, slots=True)
class KeySignature:
    """A signature that one of the signer's keys made."""

    signer: UserId
    signer_key_id: str
    signature: str


def check_device_keys(keys: Mapping[str, Any], user_id: str, device_id: str) -> None:
    """Check that a device may have these keys.

    A device does not have to sign them, but where it did the signature has to match.
    Raises `BadJson`, `InvalidParam` (another's keys), `BadSignature`.
    """
    if not is_of_device(keys, user_id, device_id):
        raise InvalidParam("The keys are not those of this user and device")
    algorithms, by_id = keys.get("algorithms"), keys.get("keys")
    if not isinstance(algorithms, list) or not all(isinstance(one, str) for one in algorithms):
        raise BadJson("'algorithms' must be an array of strings")
    if not isinstance(by_id, dict) or not all(isinstance(key, str) for key in by_id.values()):
        raise BadJson("'keys' must be an object of strings")
    if not isinstance(keys.get("signatures"), dict):
        raise BadJson("'signatures' must be an object")
    check_own_signature(keys, user_id, device_id)


def check_own_signature(keys: Mapping[str, Any], user_id: str, device_id: str) -> None:
    """Raise `BadSignature` if a device has signed its keys wrongly."""
    key_id = f"{ALGORITHM}:{device_id}"
    if key_id not in signatures_of(keys, user_id):
        return
    verify_key = verify_key_of(keys, key_id)
    if verify_key is None:
        raise BadSignature(f"The keys are signed by {key_id}, which is not among them")
    try:
        verify_json(keys, user_id, key_id, verify_key)
    except SignatureInvalid as error:
        raise BadSignature(error.message) from error


def verify_key_of(keys: Mapping[str, Any], key_id: str) -> bytes | None:
    """The public key of this ID in an object with `keys`, or None if there is none that is good."""
    by_id = keys.get("keys")
    text = by_id.get(key_id) if isinstance(by_id, Mapping) else None
    try:
        return decode_base64(text) if isinstance(text, str) else None
    except ValueError:
        return None


def parse_one_time_keys(keys: Mapping[str, Any]) -> list[OneTimeKey]:
    """The keys of an upload. Raises `BadJson`, or `InvalidParam` for too many."""
    if len(keys) > MAX_KEYS:
        raise InvalidParam(f"There are more than {MAX_KEYS} keys")
    return [parse_one_time_key(full_id, key) for full_id, key in keys.items()]


def parse_one_time_key(full_id: str, key: object) -> OneTimeKey:
    """A key by its `algorithm:key_id`. Raises `BadJson`."""
    algorithm, colon, key_id = full_id.partition(":")
    if not algorithm or not colon or "\0" in full_id or not is_within_bytes(full_id):
        raise BadJson(f"{full_id!r} is not of the form algorithm:key_id")
    if not isinstance(key, str | dict):
        raise BadJson(f"The key {full_id} is neither a string nor an object")
    return OneTimeKey(algorithm, key_id, canonical_json.encode_lax(key))


def parse_fallback_keys(keys: Mapping[str, Any]) -> list[OneTimeKey]:
    """The keys of an upload, one for each algorithm. Raises `BadJson`, `InvalidParam`."""
    parsed = parse_one_time_keys(keys)
    if len({key.algorithm for key in parsed}) < len(parsed):
        raise InvalidParam("There are several fallback keys of one algorithm")
    return parsed


def is_same_but_signatures(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two key objects say the same, whoever signed them."""
    return unsigned_part(one) == unsigned_part(other)


def unsigned_part(keys: Mapping[str, Any]) -> dict[str, Any]:
    """A key object less what is not signed and the signatures."""
    return {name: v for name, v in keys.items() if name not in ("signatures", "unsigned")}


def add_signatures(keys: Mapping[str, Any], added: Iterable[KeySignature]) -> dict[str, Any]:
    """A copy of a key object with more signatures."""
    present = keys.get("signatures")
    signatures = dict(present) if isinstance(present, Mapping) else {}
    for one in added:
        by_key = signatures.get(one.signer)
        by_key = by_key if isinstance(by_key, Mapping) else {}
        signatures[one.signer] = {**by_key, one.signer_key_id: one.signature}
    return {**keys, "signatures": signatures} if signatures else dict(keys)


def keep_signatures_of(keys: Mapping[str, Any], user_id: str) -> dict[str, Any]:
    """A key object with no signatures but its user's own, and without what is not signed."""
    signatures = keys.get("signatures")
    own = signatures.get(user_id) if isinstance(signatures, Mapping) else None
    kept = unsigned_part(keys)
    return {**kept, "signatures": {user_id: own}} if isinstance(own, Mapping) else kept


def with_name(keys: Mapping[str, Any], display_name: str | None) -> dict[str, Any]:
    """A device's keys as they are told, with its name where that is known."""
    unsigned = {} if display_name is None else {"device_display_name": display_name}
    return {**keys, "unsigned": unsigned}


def name_in(keys: Mapping[str, Any]) -> str | None:
    """The device's name that is told with its keys, if there is one."""
    unsigned = keys.get("unsigned")
    name = unsigned.get("device_display_name") if isinstance(unsigned, Mapping) else None
    return name if isinstance(name, str) else None


def is_of_device(keys: object, user_id: str, device_id: str) -> bool:
    """Whether keys say themselves that they are of this device."""
    return isinstance(keys, Mapping) and (keys.get("user_id"), keys.get("device_id")) == (
        user_id,
        device_id,
    )
