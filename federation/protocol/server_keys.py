"""A server's published keys, and when each of them counts.

Source: server-server API, "Publishing Keys"; room version 5, "Signing key validity period".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import BadJson, SignatureInvalid
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.room_versions import RoomVersion
from federation.protocol.signatures import (
    ALGORITHM,
    SigningKey,
    sign_json,
    signatures_of,
    verify_json,
)
from federation.protocol.unpadded_base64 import decode_base64, encode_base64

MAX_VALIDITY_MS = 7 * 24 * 3600 * 1000
"""However long a server says its keys are valid, it must be asked again after a week."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public ed25519 key of a server.

    `valid_until_ts` is already cut to a week after the key was received. `expired_ts` is when the
    server stopped using an old key, None for a current one.
    """

    server_name: ServerName
    key_id: KeyId
    key: bytes
    valid_until_ts: int
    expired_ts: int | None = None


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """A key object whose own signatures have been verified; `fields` is what was signed."""

    server_name: ServerName
    keys: Mapping[KeyId, VerifyKey]
    valid_until_ts: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """This server's keys: the first one signs, all of them are valid; and those it used before."""

    server_name: ServerName
    current: tuple[SigningKey, ...]
    old: tuple[VerifyKey, ...] = ()

    def verify_keys(self, now_ts: int) -> dict[KeyId, VerifyKey]:
        """The public keys, as those of other servers."""
        valid_until_ts = now_ts + MAX_VALIDITY_MS
        current = {
            key.key_id: VerifyKey(self.server_name, key.key_id, key.verify_key, valid_until_ts)
            for key in self.current
        }
        return {old.key_id: old for old in self.old} | current


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """What a notary is asked for: keys of a server (none: all), valid until a time."""

    server_name: ServerName
    key_ids: tuple[KeyId, ...]
    minimum_valid_until_ts: int


def build_server_keys(
    server_name: ServerName,
    keys: Iterable[SigningKey],
    old_keys: Iterable[VerifyKey] = (),
    *,
    valid_until_ts: int,
) -> dict[str, Any]:
    """The key object that we publish, signed by each of our current keys."""
    keys = tuple(keys)
    fields: dict[str, Any] = {
        "server_name": server_name,
        "verify_keys": {key.key_id: {"key": encode_base64(key.verify_key)} for key in keys},
        "old_verify_keys": {
            old.key_id: {"key": encode_base64(old.key), "expired_ts": old.expired_ts}
            for old in old_keys
        },
        "valid_until_ts": valid_until_ts,
    }
    for key in keys:
        fields = sign_json(fields, server_name, key)
    # In canonical order, for whoever checks the bytes instead of the object.
    return dict(sorted(fields.items()))


def parse_server_keys(
    fields: Mapping[str, Any], server_name: ServerName, *, received_ts: int
) -> ServerKeys:
    """The keys in another server's key object, fetched from it or from a notary.

    Every signature of the object by one of its current keys must match, and there must be one.
    Keys of unknown algorithms are left out. Raises `BadJson`, `SignatureInvalid`.
    """
    if fields.get("server_name") != server_name:
        raise BadJson(f"The keys are not those of {server_name}")
    valid_until_ts = _integer(fields, "valid_until_ts")
    capped = min(valid_until_ts, received_ts + MAX_VALIDITY_MS)
    current = {
        key_id: VerifyKey(server_name, key_id, _key(entry), capped)
        for key_id, entry in _entries(fields, "verify_keys", required=True)
    }
    old = {
        key_id: VerifyKey(server_name, key_id, _key(entry), capped, _integer(entry, "expired_ts"))
        for key_id, entry in _entries(fields, "old_verify_keys", required=False)
    }
    _check_own_signatures(fields, server_name, current)
    return ServerKeys(server_name, {**old, **current}, valid_until_ts, fields)


def is_key_valid_at(key: VerifyKey, ts: int, room_version: RoomVersion) -> bool:
    """Whether the key's signature counts on an event with this `origin_server_ts`.

    An old key counts for what was signed before it expired. Until room version 4 a current key
    counts always, from 5 on not beyond its validity: the caller then fetches the keys anew.
    """
    if key.expired_ts is not None:
        return ts <= key.expired_ts
    return not room_version.enforce_key_validity or ts <= key.valid_until_ts


def is_key_valid_for_request(key: VerifyKey, now_ts: int) -> bool:
    """Whether the key may sign requests now; old keys may not."""
    return key.expired_ts is None and now_ts <= key.valid_until_ts


def _check_own_signatures(
    fields: Mapping[str, Any], server_name: ServerName, current: Mapping[KeyId, VerifyKey]
) -> None:
    checkable = [key_id for key_id in signatures_of(fields, server_name) if key_id in current]
    if not checkable:
        raise SignatureInvalid(f"The keys of {server_name} are not signed by one of them")
    for key_id in checkable:
        verify_json(fields, server_name, key_id, current[key_id].key)


def _entries(
    fields: Mapping[str, Any], name: str, *, required: bool
) -> list[tuple[KeyId, Mapping[str, Any]]]:
    entries = fields.get(name, None if required else {})
    if not isinstance(entries, dict):
        raise BadJson(f"`{name}` is absent or not an object")
    known = [(KeyId(k), entry) for k, entry in entries.items() if k.startswith(ALGORITHM + ":")]
    if not all(isinstance(entry, dict) for _, entry in known):
        raise BadJson(f"`{name}` does not hold objects")
    return known


def _key(entry: Mapping[str, Any]) -> bytes:
    encoded = entry.get("key")
    try:
        key = decode_base64(encoded) if isinstance(encoded, str) else b""
    except ValueError:
        key = b""
    if len(key) != 32:
        raise BadJson("A key is not 32 bytes in Base64")
    return key


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int:
        raise BadJson(f"`{name}` is absent or not an integer")
    return value
