"""Names on LiveKit, as other implementations work them out."""

import hashlib

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given
from hypothesis import strategies as st
from unpaddedbase64 import encode_base64

from homeserver.calls.livekit_names import (
    CALL_SLOT,
    device_identity,
    participant_identity,
    plain_identity,
    room_name,
)

# Those of rooms and devices with signs in them were made with Go's encoding/json.


@pytest.mark.parametrize(
    ("room_id", "slot_id", "name"),
    [
        # MSC4195, "Hash derivation test vectors".
        ("!roomid:example.com", "slot1234", "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc"),
        ("!room<&>é:example.com", CALL_SLOT, "qrR0ey9zvf9+4kB4bgAi4Z2rJWxGpk/YYqtZFPtHw6c"),
        (
            '!a\u2028b\u2029c"d\\e\tf\x7f:example.com',
            CALL_SLOT,
            "JqMq8+Y2OGL9uI6Rb6R89AWHoMvVjzweK9b7WdOwQzE",
        ),
        ("!a\b\f\x01:x", "s", "HMbzpCwu99rz8Bon4yXz2Nc5CiMBA3F18xiStZlDXf4"),
    ],
)
def test_rooms_are_called_as_the_stand_alone_service_calls_them(
    room_id: str, slot_id: str, name: str
) -> None:
    assert room_name(room_id, slot_id) == name


@pytest.mark.parametrize(
    ("user_id", "device_id", "member_id", "identity"),
    [
        ("@alice:example.com", "DEVICE", "member", "jN945p8h2jgPH6oDXtJVnB9qXqGe54Uk0/HuBugDFL0"),
        ("@a<b>:example.com", "D&E", "m😀", "CMrkSev2alyPkt1g2jfI6nobGrZpOB2T3X6dzm3UwVc"),
    ],
)
def test_devices_are_called_as_the_stand_alone_service_calls_them(
    user_id: str, device_id: str, member_id: str, identity: str
) -> None:
    assert device_identity(user_id, device_id, member_id) == identity


def test_members_are_called_as_the_proposal_has_it() -> None:
    named = participant_identity("@alice:example.com", "memberABC")
    assert named == "M3VnsLXrkbxIDINXO64u8PZzFyD9ZYFiQULR2dshWYs"


@given(user_id=st.text(), member_id=st.text())
def test_members_are_called_by_the_hash_of_canonical_json(user_id: str, member_id: str) -> None:
    encoded = encode_canonical_json([user_id, member_id])
    expected = encode_base64(hashlib.sha256(encoded).digest())
    assert participant_identity(user_id, member_id) == expected


def test_who_asks_for_a_room_is_called_by_name() -> None:
    assert plain_identity("@alice:example.com", "DEVICE") == "@alice:example.com:DEVICE"
    assert plain_identity("@alice:example.com", "") == "@alice:example.com:"
