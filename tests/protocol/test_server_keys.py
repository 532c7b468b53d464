from typing import Any

import pytest

from federation.protocol.errors import BadJson, SignatureInvalid
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.room_versions import V4, V5
from federation.protocol.server_keys import (
    MAX_VALIDITY_MS,
    ServerKeys,
    VerifyKey,
    build_server_keys,
    is_key_valid_at,
    is_key_valid_for_request,
    parse_server_keys,
)
from federation.protocol.signatures import sign_json, signing_key_from_seed

NAME = ServerName("example.org")
KEY = signing_key_from_seed("a", b"a" * 32)
SECOND = signing_key_from_seed("b", b"b" * 32)
OLD = VerifyKey(NAME, KeyId("ed25519:old"), b"o" * 32, valid_until_ts=0, expired_ts=500)
PUBLISHED = build_server_keys(NAME, [KEY, SECOND], [OLD], valid_until_ts=10_000)


def parse(fields: dict[str, Any], received_ts: int = 1_000) -> ServerKeys:
    return parse_server_keys(fields, NAME, received_ts=received_ts)


def test_what_we_publish_can_be_read() -> None:
    keys = parse(PUBLISHED)
    assert keys.keys.keys() == {"ed25519:a", "ed25519:b", "ed25519:old"}
    assert keys.keys[KEY.key_id].key == KEY.verify_key
    assert keys.keys[OLD.key_id].expired_ts == 500
    assert PUBLISHED["signatures"][NAME].keys() == {"ed25519:a", "ed25519:b"}


def test_keys_are_believed_for_a_week_at_most() -> None:
    fields = build_server_keys(NAME, [KEY], valid_until_ts=10**15)
    keys = parse(fields)
    assert keys.valid_until_ts == 10**15
    assert keys.keys[KEY.key_id].valid_until_ts == 1_000 + MAX_VALIDITY_MS


def test_an_old_key_counts_until_it_expired() -> None:
    key = parse(PUBLISHED).keys[OLD.key_id]
    for version in (V4, V5):
        assert is_key_valid_at(key, 500, version)
        assert not is_key_valid_at(key, 501, version)
    assert not is_key_valid_for_request(key, 400)


def test_validity_is_enforced_from_version_5_on() -> None:
    key = parse(PUBLISHED).keys[KEY.key_id]
    assert is_key_valid_at(key, 10_000, V5)
    assert not is_key_valid_at(key, 10_001, V5)
    assert is_key_valid_at(key, 10_001, V4)
    assert is_key_valid_for_request(key, 10_000)
    assert not is_key_valid_for_request(key, 10_001)


def test_keys_of_unknown_algorithms_are_left_out() -> None:
    fields = {**PUBLISHED, "verify_keys": {**PUBLISHED["verify_keys"], "rsa:1": "odd"}}
    assert "rsa:1" not in parse(sign_json(fields, NAME, KEY) | _without_second(fields)).keys


def test_keys_signed_by_none_of_themselves_are_refused() -> None:
    with pytest.raises(SignatureInvalid):
        parse({**PUBLISHED, "signatures": {}})
    with pytest.raises(SignatureInvalid):
        parse({**PUBLISHED, "valid_until_ts": 10_001})
    stranger = signing_key_from_seed("stranger", b"s" * 32)
    with pytest.raises(SignatureInvalid):
        parse(sign_json({**PUBLISHED, "signatures": {}}, NAME, stranger))


@pytest.mark.parametrize(
    "change",
    [
        {"server_name": "other.org"},
        {"verify_keys": None},
        {"verify_keys": []},
        {"verify_keys": {"ed25519:a": "key"}},
        {"verify_keys": {"ed25519:a": {"key": "AAAA"}}},
        {"verify_keys": {"ed25519:a": {"key": 1}}},
        {"verify_keys": {"ed25519:a": {"key": "ä" * 43}}},
        {"old_verify_keys": {"ed25519:a": {"key": "A" * 43}}},
        {"valid_until_ts": "1"},
        {"valid_until_ts": True},
        {"valid_until_ts": None},
    ],
)
def test_malformed_key_objects_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        parse({**PUBLISHED, **change})


def _without_second(fields: dict[str, Any]) -> dict[str, Any]:
    signed = sign_json({**fields, "signatures": {}}, NAME, KEY)
    return {"signatures": signed["signatures"]}
