"""The content hash: covers the whole event, so that a redacted copy shows itself.

Source: server-server API, "Calculating the content hash for an event".
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.unpadded_base64 import decode_base64, encode_base64

_UNCOVERED = frozenset({"unsigned", "signatures", "hashes"})


def content_hash(fields: Mapping[str, Any]) -> str:
    """SHA-256 of the event without `unsigned`, `signatures` and `hashes`, in unpadded Base64.

    Raises `BadJson` if the event has no canonical form in any room version.
    """
    covered = {key: value for key, value in fields.items() if key not in _UNCOVERED}
    return hash_base64(canonical_json.encode_lax(covered))


def check_content_hash(fields: Mapping[str, Any]) -> bool:
    """Whether `hashes.sha256` is the event's content hash; if not, it is a redacted copy."""
    hashes = fields.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, Mapping) else None
    if not isinstance(claimed, str):
        return False
    expected = content_hash(fields)
    if claimed == expected:
        return True
    try:
        return decode_base64(claimed) == decode_base64(expected)
    except ValueError:
        return False


def hash_base64(data: bytes) -> str:
    """SHA-256 in unpadded Base64."""
    return encode_base64(sha256(data).digest())
