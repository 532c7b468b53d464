from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.cross_signing import (
    MASTER,
    SELF_SIGNING,
    CrossSigningKey,
    check_new_signatures,
    check_signed_by,
    find_cross_signing_key,
    has_new_key,
)
from federation.protocol.device_keys import (
    KeySignature,
    add_signatures,
    check_device_keys,
    is_same_but_signatures,
    keep_signatures_of,
)
from federation.protocol.errors import BadSignature
from federation.protocol.identifiers import UserId
from federation.protocol.signatures import SigningKey, sign_json, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64

ALICE, BOB = UserId("@alice:hs"), UserId("@bob:hs")
DEVICE = signing_key_from_seed("PHONE", b"d" * 32)


def device_keys(**more: Any) -> dict[str, Any]:
    return {
        "user_id": ALICE,
        "device_id": "PHONE",
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {DEVICE.key_id: encode_base64(DEVICE.verify_key)},
        "signatures": {},
        **more,
    }


def key_of(seed: bytes) -> SigningKey:
    public_key = encode_base64(signing_key_from_seed("x", seed * 32).verify_key)
    return signing_key_from_seed(public_key, seed * 32)


def published(usage: str, key: SigningKey) -> dict[str, Any]:
    return {"user_id": ALICE, "usage": [usage], "keys": {key.key_id: key.version}}


def test_keys_that_their_device_signed_are_good() -> None:
    check_device_keys(sign_json(device_keys(), ALICE, DEVICE), ALICE, "PHONE")


def test_keys_need_no_signature_but_not_a_wrong_one() -> None:
    check_device_keys(device_keys(), ALICE, "PHONE")
    other = signing_key_from_seed("PHONE", b"o" * 32)
    with pytest.raises(BadSignature):
        check_device_keys(sign_json(device_keys(), ALICE, other), ALICE, "PHONE")


def test_a_signature_of_another_key_says_nothing() -> None:
    other = signing_key_from_seed("OTHER", b"o" * 32)
    check_device_keys(sign_json(device_keys(), ALICE, other), ALICE, "PHONE")


signatures = st.dictionaries(
    st.sampled_from([ALICE, BOB]), st.dictionaries(st.sampled_from("abc"), st.text(), max_size=2)
)


@given(signatures, signatures)
def test_who_signed_does_not_change_what_is_said(
    one: dict[str, dict[str, str]], other: dict[str, dict[str, str]]
) -> None:
    assert is_same_but_signatures(
        device_keys(signatures=one, unsigned={"n": 1}), device_keys(signatures=other)
    )


@given(signatures)
def test_of_the_signatures_only_the_users_own_are_kept(given: dict[str, dict[str, str]]) -> None:
    kept = keep_signatures_of(device_keys(signatures=given), ALICE)
    assert kept.get("signatures", {}) == {u: by for u, by in given.items() if u == ALICE}
    assert is_same_but_signatures(kept, device_keys())


def test_signatures_are_added_to_those_that_are_there() -> None:
    keys = device_keys(signatures={ALICE: {"ed25519:a": "1"}})
    added = [KeySignature(ALICE, "ed25519:b", "2"), KeySignature(BOB, "ed25519:c", "3")]
    assert add_signatures(keys, added)["signatures"] == {
        ALICE: {"ed25519:a": "1", "ed25519:b": "2"},
        BOB: {"ed25519:c": "3"},
    }
    assert keys["signatures"] == {ALICE: {"ed25519:a": "1"}}


def parsed(fields: dict[str, Any], usage: str) -> CrossSigningKey:
    key = find_cross_signing_key(fields, usage, ALICE)
    assert key is not None
    return key


def test_a_key_is_vouched_for_by_the_master_key() -> None:
    master, own = key_of(b"m"), key_of(b"s")
    by_master = parsed(published(MASTER, master), MASTER)
    signed = sign_json(published(SELF_SIGNING, own), ALICE, master)
    check_signed_by(parsed(signed, SELF_SIGNING), ALICE, by_master)
    for bad in (published(SELF_SIGNING, own), sign_json(published(SELF_SIGNING, own), ALICE, own)):
        with pytest.raises(BadSignature):
            check_signed_by(parsed(bad, SELF_SIGNING), ALICE, by_master)


@pytest.mark.parametrize("fields", [None, [], {}, {"user_id": BOB}, published("other", DEVICE)])
def test_what_is_no_key_is_not_taken_for_one(fields: object) -> None:
    assert find_cross_signing_key(fields, MASTER, ALICE) is None


def test_a_key_is_new_if_it_is_another_one_whoever_signed_it() -> None:
    master = parsed(published(MASTER, key_of(b"m")), MASTER)
    again = parsed(sign_json(master.fields, ALICE, DEVICE), MASTER)
    other = parsed(published(MASTER, key_of(b"n")), MASTER)
    assert not has_new_key({}, {})
    assert not has_new_key({MASTER: again}, {MASTER: master})
    assert has_new_key({MASTER: other}, {MASTER: master})
    assert has_new_key({MASTER: master}, {})


def test_only_signatures_that_are_new_and_by_the_right_key_are_taken() -> None:
    own = key_of(b"s")
    by: dict[str, bytes] = {own.key_id: own.verify_key}
    stored = device_keys()
    signed = sign_json(sign_json(stored, ALICE, own), ALICE, DEVICE)
    signature = signed["signatures"][ALICE][own.key_id]
    new = check_new_signatures(stored, signed, ALICE, by)
    assert new == [KeySignature(ALICE, own.key_id, signature)]
    assert check_new_signatures(add_signatures(stored, new), signed, ALICE, by) == []
    with pytest.raises(BadSignature):
        check_new_signatures(stored, signed, ALICE, {})
    with pytest.raises(BadSignature):
        check_new_signatures({**stored, "algorithms": []}, signed, ALICE, by)
