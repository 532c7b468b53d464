"""What clients ask the token service for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import BadJson, NotJson
from homeserver.calls.requests import (
    Delay,
    read_delegation,
    read_room_request,
    read_slot_request,
)

OPENID = {
    "access_token": "hot_x",
    "token_type": "Bearer",
    "matrix_server_name": "test",
    "expires_in": 3600,
}
MEMBER = {"id": "m", "claimed_user_id": "@alice:test", "claimed_device_id": "D"}
SLOT = {"room_id": "!r:test", "slot_id": "m.call#ROOM", "openid_token": OPENID, "member": MEMBER}
ROOM = {"room": "!r:test", "openid_token": OPENID, "device_id": "D"}
DELAY = {"delay_id": "d", "delay_timeout": 5000}


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_both_kinds_lead_to_the_same_room() -> None:
    slot, room = read_slot_request(encode(SLOT)), read_room_request(encode(ROOM))
    assert slot.place.livekit_room == room.place.livekit_room
    assert slot.openid == room.openid
    assert room.place.member.identity_of("@alice:test") == "@alice:test:D"
    assert slot.place.member.identity_of("@alice:test") != "@alice:test:D"


def test_a_delay_is_read_whether_its_url_is_named_or_not() -> None:
    named = {**ROOM, **DELAY, "delay_cs_api_url": "https://test"}
    assert read_room_request(encode(named)).delay == Delay("d", 5000)
    assert read_slot_request(encode({**SLOT, **DELAY})).delay == Delay("d", 5000)
    assert read_slot_request(encode({**SLOT, "delay_cs_api_url": "https://test"})).delay is None
    assert read_delegation(encode({**SLOT, **DELAY}))[1] == Delay("d", 5000)


def test_a_device_need_not_be_named_to_ask_for_a_room() -> None:
    request = read_room_request(encode({"room": "!r:test", "openid_token": OPENID}))
    assert request.place.member.identity_of("@alice:test") == "@alice:test:"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        encode({**SLOT, "more": 1}),
        encode({**SLOT, "openid_token": {**OPENID, "more": 1}}),
        encode({**SLOT, "member": {**MEMBER, "more": 1}}),
        encode({**SLOT, "room_id": 1}),
        encode({**SLOT, "room_id": "!a\0b"}),
        encode({**SLOT, "room_id": "!" + "a" * 600}),
        encode({**SLOT, "openid_token": "x"}),
        encode({**SLOT, "openid_token": {**OPENID, "expires_in": "x"}}),
        encode({**SLOT, "delay_id": "d", "delay_timeout": True}),
    ],
)
def test_what_is_not_of_the_shape_cannot_be_read(body: bytes) -> None:
    with pytest.raises(NotJson, match="Error reading request"):
        read_slot_request(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"room_id": ""},
        {"slot_id": None},
        {"member": None},
        {"member": {**MEMBER, "id": ""}},
        {"member": {**MEMBER, "claimed_user_id": ""}},
        {"member": {**MEMBER, "claimed_device_id": ""}},
        {"openid_token": {**OPENID, "access_token": ""}},
        {"openid_token": {**OPENID, "matrix_server_name": ""}},
        {"delay_id": "d"},
        {"delay_timeout": 5},
        {"delay_id": "d", "delay_timeout": -5},
    ],
)
def test_what_is_missing_is_bad(changes: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        read_slot_request(encode({**SLOT, **changes}))


@pytest.mark.parametrize("changes", [{"room": ""}, {"openid_token": None}, {"delay_id": "d"}])
def test_what_is_missing_to_ask_for_a_room_is_bad(changes: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        read_room_request(encode({**ROOM, **changes}))


def test_nothing_can_be_delegated_without_a_delay() -> None:
    with pytest.raises(BadJson):
        read_delegation(encode(SLOT))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@given(
    changes=st.dictionaries(st.sampled_from([*SLOT, *DELAY]), json_values),
    openid=st.dictionaries(st.sampled_from([*OPENID]), json_values),
)
def test_whatever_is_sent_is_read_or_refused(
    changes: dict[str, Any], openid: dict[str, Any]
) -> None:
    body = {**SLOT, "openid_token": {**OPENID, **openid}, **changes}
    try:
        request = read_slot_request(encode(body))
    except (NotJson, BadJson):
        return
    assert request.place.room_id
    assert request.openid.access_token
