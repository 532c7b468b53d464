from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.canonical_json import decode
from federation.protocol.edu import (
    MAX_ENTRIES,
    DeviceListUpdate,
    DirectToDevice,
    PresenceUpdate,
    Receipt,
    SigningKeyUpdate,
    Typist,
    build_device_list_update,
    build_direct_to_device,
    build_presence,
    build_receipts,
    build_signing_key_update,
    build_typing,
    is_of,
    parse_device_list_update,
    parse_direct_to_device,
    parse_presence,
    parse_receipts,
    parse_signing_key_update,
    parse_typing,
)
from federation.protocol.errors import BadJson, InvalidParam
from federation.protocol.identifiers import DeviceId, EventId, RoomId, UserId
from tests.strategies import json_objects, json_values

ROOM = RoomId("!room:far.example")
ZOE = UserId("@zoe:far.example")
PARSERS = [
    parse_typing,
    parse_receipts,
    parse_presence,
    parse_direct_to_device,
    parse_device_list_update,
    parse_signing_key_update,
]
FIELDS = [
    *("room_id", "user_id", "typing", "push", "presence", "sender", "type", "message_id"),
    *("messages", "device_id", "stream_id", "prev_id", "keys", "master_key", ROOM, "m.read", ZOE),
]

users = st.sampled_from([ZOE, UserId("@yan:far.example"), UserId("@xia:far.example")])
rooms = st.sampled_from([ROOM, RoomId("!other:far.example")])
threads = st.sampled_from([None, "main", "$root"])
receipts = st.builds(
    Receipt, rooms, users, st.sampled_from([EventId("$a"), EventId("$b")]), st.integers(0), threads
).filter(lambda receipt: receipt.ts < 2**53)


def sent(edu: Any) -> Any:
    """The content as the other side gets it."""
    return decode(edu.encode())["content"]


@given(is_typing=st.booleans())
def test_typing_is_heard_as_it_was_said(is_typing: bool) -> None:
    typist = Typist(ROOM, ZOE, is_typing)
    assert parse_typing(sent(build_typing(typist))) == typist


@given(told=st.lists(receipts, max_size=12))
def test_receipts_are_heard_as_they_were_said(told: list[Receipt]) -> None:
    heard = [one for edu in build_receipts(told) for one in parse_receipts(sent(edu))]
    assert sorted(heard, key=repr) == sorted(told, key=repr)


def test_receipts_of_many_users_and_rooms_take_one_edu() -> None:
    told = [
        Receipt(room, user, EventId("$a"), 1, None)
        for room in (ROOM, RoomId("!other:far.example"))
        for user in (ZOE, UserId("@yan:far.example"))
    ]
    assert len(build_receipts(told)) == 1


def test_presence_is_heard_as_it_was_said() -> None:
    updates = [
        PresenceUpdate(ZOE, "online", "here", 5, True),
        PresenceUpdate(UserId("@yan:far.example"), "offline", None, 60_000, False),
    ]
    assert parse_presence(sent(build_presence(updates))) == updates


def test_messages_to_devices_are_heard_as_they_were_said() -> None:
    message = DirectToDevice(
        ZOE, "m.room_key", "id1", {UserId("@alice:hub.example"): {"*": {"a": [1]}, "PHONE": {}}}
    )
    assert parse_direct_to_device(sent(build_direct_to_device(message))) == message


@pytest.mark.parametrize("is_deleted", [False, True])
def test_device_changes_are_heard_as_they_were_said(is_deleted: bool) -> None:
    update = DeviceListUpdate(ZOE, DeviceId("PHONE"), 7, (5, 6), is_deleted, "Phone", {"keys": {}})
    assert parse_device_list_update(sent(build_device_list_update(update))) == update


def test_signing_keys_are_heard_as_they_were_said() -> None:
    update = SigningKeyUpdate(ZOE, {"keys": {"a": "b"}}, None)
    assert parse_signing_key_update(sent(build_signing_key_update(update))) == update


contents = st.recursive(
    json_values,
    lambda inner: (
        st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6) | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("parse", PARSERS)
@given(content=st.dictionaries(st.sampled_from(FIELDS), contents, max_size=8) | json_objects)
def test_whatever_comes_is_read_or_refused(parse: Any, content: dict[str, Any]) -> None:
    with suppress(BadJson, InvalidParam):
        parse(content)


def test_a_bad_receipt_does_not_spoil_the_others() -> None:
    good = {"event_ids": ["$a"], "data": {"ts": 1}}
    bad: list[Any] = [
        {**good, "event_ids": []},
        {**good, "event_ids": [7]},
        {**good, "data": {"ts": "now"}},
        {**good, "data": {"ts": 1, "thread_id": "nowhere"}},
        None,
    ]
    content = {
        "!r:h": {"m.read": {ZOE: good} | {f"@u{n}:h": one for n, one in enumerate(bad)}},
        "no room": {"m.read": {ZOE: good}},
        "!s:h": {"m.read.private": {ZOE: good}},
    }
    assert [one.room_id for one in parse_receipts(content)] == ["!r:h"]


def test_no_more_is_read_than_can_be_meant() -> None:
    good = {"event_ids": ["$a"], "data": {"ts": 1}}
    crowd = {f"@u{n}:h": good for n in range(MAX_ENTRIES + 5)}
    assert len(parse_receipts({"!r:h": {"m.read": crowd}})) == MAX_ENTRIES
    shown = [{"user_id": user, "presence": "online"} for user in crowd]
    assert len(parse_presence({"push": shown})) == MAX_ENTRIES
    with pytest.raises(BadJson):
        parse_direct_to_device(
            {
                "sender": ZOE,
                "type": "t",
                "message_id": "m",
                "messages": {ZOE: {key: {} for key in crowd}},
            }
        )


def test_a_status_that_is_no_text_is_left_out() -> None:
    for status in (7, "x" * 3_000, "a\0b"):
        (update,) = parse_presence(
            {"push": [{"user_id": ZOE, "presence": "online", "status_msg": status}]}
        )
        assert update.status_msg is None


def test_a_server_speaks_for_its_own_users() -> None:
    assert is_of(ZOE, "far.example")
    assert not is_of(ZOE, "example")
    assert is_of("@zoe:far.example:8448", "far.example:8448")
    assert not is_of("@zoe:far.example:8448", "far.example")
