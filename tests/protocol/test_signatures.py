import json
from pathlib import Path
from typing import Any

import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given

from federation.protocol.content_hash import content_hash
from federation.protocol.errors import InvalidParam, SignatureInvalid
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.redaction import redact
from federation.protocol.room_versions import V1, V3, V7, V8, V11, RoomVersion
from federation.protocol.signatures import (
    SigningKey,
    parse_signing_keys,
    sign_event,
    sign_json,
    signature_servers_needed,
    signing_key_from_seed,
    signing_key_text,
    verify_event,
    verify_json,
)
from federation.protocol.unpadded_base64 import decode_base64, encode_base64
from tests.strategies import lax_json_objects, server_names, signing_keys, versions_and_events

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/signing.json").read_text())
DOMAIN = ServerName(VECTORS["server_name"])
KEY = signing_key_from_seed(VECTORS["key_version"], decode_base64(VECTORS["seed"]))
VersionAndEvent = tuple[RoomVersion, dict[str, Any]]


@pytest.mark.parametrize("vector", VECTORS["json"])
def test_the_specifications_objects_are_signed_as_it_says(vector: dict[str, Any]) -> None:
    signed = sign_json(vector["object"], DOMAIN, KEY)
    assert signed["signatures"] == {"domain": {"ed25519:1": vector["signature"]}}
    verify_json(signed, DOMAIN, "ed25519:1", KEY.verify_key)


@pytest.mark.parametrize("vector", VECTORS["events"])
def test_the_specifications_events_are_hashed_and_signed_as_it_says(vector: dict[str, Any]) -> None:
    event = vector["event"]
    assert content_hash(event) == vector["content_hash"]
    hashed = event | {"hashes": {"sha256": vector["content_hash"]}}
    signed = sign_event(hashed, V1, DOMAIN, KEY)
    assert signed["signatures"] == {"domain": {"ed25519:1": vector["signature"]}}


@given(lax_json_objects, signing_keys)
def test_signing_agrees_with_the_reference_library(obj: dict[str, Any], key: SigningKey) -> None:
    obj.pop("signatures", None)
    reference_key = signedjson.key.decode_signing_key_base64(
        "ed25519", key.version, encode_base64(key.seed)
    )
    ours = sign_json(obj, "example.org", key)
    assert ours == signedjson.sign.sign_json(dict(obj), "example.org", reference_key)
    signedjson.sign.verify_signed_json(
        ours, "example.org", signedjson.key.get_verify_key(reference_key)
    )
    verify_json(ours, "example.org", key.key_id, key.verify_key)


@given(lax_json_objects, signing_keys, server_names)
def test_what_is_signed_verifies_whatever_unsigned_says(
    obj: dict[str, Any], key: SigningKey, server: ServerName
) -> None:
    signed = sign_json(obj, server, key)
    verify_json(signed | {"unsigned": {"age": 1}}, server, key.key_id, key.verify_key)


@given(lax_json_objects, signing_keys)
def test_a_changed_object_does_not_verify(obj: dict[str, Any], key: SigningKey) -> None:
    signed = sign_json(obj, "example.org", key)
    with pytest.raises(SignatureInvalid):
        verify_json(signed | {"a new key": 1}, "example.org", key.key_id, key.verify_key)


def test_signatures_of_several_keys_and_servers_stand_side_by_side() -> None:
    other = signing_key_from_seed("2", b"2" * 32)
    signed = sign_json(sign_json(sign_json({"a": 1}, "one", KEY), "one", other), "two", KEY)
    for server, key in (("one", KEY), ("one", other), ("two", KEY)):
        verify_json(signed, server, key.key_id, key.verify_key)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {"domain": None},
        {"domain": {}},
        {"domain": {"ed25519:1": 1}},
        {"domain": {"ed25519:1": ""}},
        {"domain": {"ed25519:1": "not base64 ä"}},
        {"domain": {"ed25519:1": "AAAA"}},
        {"domain": {"ed25519:1": "A" * 86}},
        {"other": {"ed25519:1": "A" * 86}},
    ],
)
def test_malformed_signatures_are_invalid(signatures: Any) -> None:
    with pytest.raises(SignatureInvalid):
        verify_json({"signatures": signatures}, DOMAIN, "ed25519:1", KEY.verify_key)
    signed = sign_json({"signatures": signatures}, DOMAIN, KEY)
    verify_json(signed, DOMAIN, "ed25519:1", KEY.verify_key)


def test_a_key_of_wrong_length_verifies_nothing() -> None:
    with pytest.raises(SignatureInvalid):
        verify_json(sign_json({}, DOMAIN, KEY), DOMAIN, "ed25519:1", b"short")


@given(versions_and_events, signing_keys)
def test_a_signed_event_verifies_also_when_redacted(case: VersionAndEvent, key: SigningKey) -> None:
    version, event = case
    event["content"].pop("join_authorised_via_users_server", None)
    event["content"].pop("third_party_invite", None)
    needed = signature_servers_needed(event, version)
    for server in needed:
        event = sign_event(event, version, server, key)
    keys = {server: {key.key_id: key.verify_key} for server in needed}
    verify_event(event, version, keys)
    verify_event(redact(event, version), version, keys)
    with pytest.raises(SignatureInvalid):
        verify_event(event | {"depth": event["depth"] ^ 1}, version, keys)


@given(signing_keys)
def test_key_files_are_those_of_the_reference_library(key: SigningKey) -> None:
    (theirs,) = signedjson.key.read_signing_keys([signing_key_text(key)])
    assert (theirs.version, theirs.encode()) == (key.version, key.seed)
    assert parse_signing_keys("\n" + signing_key_text(key) * 2 + "\n") == (key, key)
    assert encode_base64(key.seed) not in repr(key)


@pytest.mark.parametrize("text", ["ed25519 a", "rsa a " + "A" * 43, "ed25519 a AAAA", "a b c d"])
def test_a_broken_key_file_names_the_line_and_not_the_key(text: str) -> None:
    with pytest.raises(InvalidParam, match="Line 2") as caught:
        parse_signing_keys(signing_key_text(KEY) + text)
    assert "AAAA" not in str(caught.value)


def member(membership: str, **content: Any) -> dict[str, Any]:
    return {
        "type": "m.room.member",
        "sender": "@a:sender.org",
        "event_id": "$1:origin.org",
        "content": {"membership": membership, **content},
    }


def test_the_sender_signs_and_in_versions_1_and_2_who_named_the_event() -> None:
    assert signature_servers_needed(member("join"), V1) == ("sender.org", "origin.org")
    assert signature_servers_needed(member("join"), V3) == ("sender.org",)


def test_whoever_let_a_restricted_join_in_signs_it_from_version_8_on() -> None:
    event = member("join", join_authorised_via_users_server="@b:resident.org")
    assert signature_servers_needed(event, V7) == ("sender.org",)
    assert signature_servers_needed(event, V8) == ("sender.org", "resident.org")
    with pytest.raises(SignatureInvalid):
        signature_servers_needed(member("join", join_authorised_via_users_server=1), V8)


def test_a_third_party_invite_needs_no_signature_of_its_sender() -> None:
    event = member("invite", third_party_invite={"signed": {}})
    assert signature_servers_needed(event, V11) == ()
    assert signature_servers_needed(event, V1) == ("origin.org",)
    assert signature_servers_needed(event | {"type": "m.other"}, V11) == ("sender.org",)


def test_signatures_by_unknown_keys_are_passed_over_but_one_must_be_known() -> None:
    event = sign_event(member("join") | {"depth": 1}, V11, ServerName("sender.org"), KEY)
    known = {ServerName("sender.org"): {KEY.key_id: KEY.verify_key}}
    event["signatures"]["sender.org"]["ed25519:unknown"] = "A" * 86
    verify_event(event, V11, known)
    with pytest.raises(SignatureInvalid):
        verify_event(event, V11, {ServerName("sender.org"): {}})
    both = {
        ServerName("sender.org"): {KEY.key_id: KEY.verify_key, KeyId("ed25519:unknown"): b"k" * 32}
    }
    with pytest.raises(SignatureInvalid):
        verify_event(event, V11, both)
