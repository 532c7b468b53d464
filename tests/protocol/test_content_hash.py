from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given

from federation.protocol.content_hash import check_content_hash, content_hash
from federation.protocol.room_versions import RoomVersion
from tests.strategies import versions_and_events


@given(versions_and_events)
def test_the_hash_covers_all_but_hashes_signatures_and_unsigned(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    event = case[1]
    covered = {k: v for k, v in event.items() if k not in ("hashes", "signatures", "unsigned")}
    digest = sha256(encode_canonical_json(covered)).digest()
    assert content_hash(event) == b64encode(digest).decode().rstrip("=")


@given(versions_and_events)
def test_a_hashed_event_passes_until_something_changes(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    event = case[1]
    event["hashes"] = {"sha256": content_hash(event)}
    assert check_content_hash(event | {"unsigned": {"age": 1}, "signatures": {"a": {"b": "c"}}})
    assert not check_content_hash(event | {"depth": event["depth"] + 1})


@pytest.mark.parametrize("claimed", [None, 1, "", "x", "é", "=" * 44, {"sha256": 1}, ["sha256"]])
def test_malformed_hashes_do_not_pass(claimed: Any) -> None:
    assert not check_content_hash({"hashes": claimed})
    assert not check_content_hash({"hashes": {"sha256": claimed}})


def test_the_hash_is_compared_as_bytes() -> None:
    event = {"a": 1}
    assert check_content_hash(event | {"hashes": {"sha256": content_hash(event) + "="}})
    digest = sha256(encode_canonical_json(event)).digest()
    spelled = urlsafe_b64encode(digest).decode()
    assert check_content_hash(event | {"hashes": {"sha256": spelled}})
