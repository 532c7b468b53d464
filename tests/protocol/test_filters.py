"""Parsing filters, asking them, and keeping fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import BadJson, InvalidParam, MatrixError
from federation.protocol.filters import (
    MAX_LIMIT,
    NO_FILTER,
    EventFilter,
    EventFormat,
    RoomEventFilter,
    keep_fields,
    parse_event_fields,
    parse_room_event_filter,
    parse_sync_filter,
)

SENDER = "@alice:example.org"
ROOM = "!room:example.org"


def allows(value: dict[str, Any], **event: Any) -> bool:
    asked = {"event_type": "m.room.message", "sender": SENDER, "room_id": ROOM, "content": {}}
    return parse_room_event_filter(value).allows_event(**(asked | event))


@given(st.text(), st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_the_empty_filter_allows_everything(
    event_type: str, sender: str, room_id: str, content: dict[str, str]
) -> None:
    empty = parse_room_event_filter({"limit": 5, "lazy_load_members": True, "unknown": 1})
    assert empty.is_empty
    assert empty.allows_event(event_type, sender, room_id, content)
    assert empty.allows_type(event_type)
    assert empty.allows_sender(sender)
    assert empty.allows_room(room_id)
    assert NO_FILTER.room.allows_room(room_id)


@pytest.mark.parametrize(
    ("value", "event_type", "expected"),
    [
        ({"types": ["m.room.message"]}, "m.room.message", True),
        ({"types": ["m.room.message"]}, "m.room.name", False),
        ({"types": ["m.room.*"]}, "m.room.name", True),
        ({"types": ["*.name"]}, "m.room.name", True),
        ({"types": ["m.*.name"]}, "m.room.name", True),
        ({"types": ["m.room.nam?"]}, "m.room.name", False),
        ({"types": ["M.ROOM.NAME"]}, "m.room.name", False),
        ({"types": []}, "m.room.name", False),
        ({"not_types": ["m.room.name"]}, "m.room.name", False),
        ({"not_types": ["m.room.*"]}, "m.reaction", True),
        ({"types": ["m.room.name"], "not_types": ["m.*"]}, "m.room.name", False),
    ],
)
def test_types(value: dict[str, Any], event_type: str, expected: bool) -> None:
    assert allows(value, event_type=event_type) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"senders": [SENDER]}, True),
        ({"senders": ["@bob:example.org"]}, False),
        ({"senders": []}, False),
        ({"not_senders": [SENDER]}, False),
        ({"not_senders": ["@bob:example.org"]}, True),
        ({"senders": [SENDER], "not_senders": [SENDER]}, False),
        ({"rooms": [ROOM]}, True),
        ({"rooms": []}, False),
        ({"rooms": ["!other"]}, False),
        ({"not_rooms": [ROOM]}, False),
        ({"rooms": [ROOM], "not_rooms": [ROOM]}, False),
    ],
)
def test_senders_and_rooms(value: dict[str, Any], expected: bool) -> None:
    assert allows(value) is expected


def test_urls() -> None:
    for content in ({"url": "mxc://x/y"}, {"url": None}):
        assert allows({"contains_url": True}, content=content)
        assert not allows({"contains_url": False}, content=content)
    assert not allows({"contains_url": True})
    assert allows({"contains_url": False})


def test_what_has_no_sender_is_judged_by_its_type() -> None:
    account_data = EventFilter(types=("m.direct",), senders=frozenset())
    assert account_data.allows("m.direct")
    assert not account_data.allows("m.push_rules")


@pytest.mark.parametrize(
    "value", [{"limit": 0}, {"types": []}, {"senders": []}, {"not_types": ["*"]}]
)
def test_some_filters_want_nothing(value: dict[str, Any]) -> None:
    assert parse_room_event_filter(value).wants_nothing
    assert not RoomEventFilter().wants_nothing


def test_sql_gets_like_patterns() -> None:
    value = parse_room_event_filter({"types": ["m.room.*", "a_b"], "not_types": ["100%"]})
    assert value.types_like == ["m.room.%", r"a\_b"]
    assert value.not_types_like == [r"100\%"]
    assert RoomEventFilter().types_like is None


def test_a_whole_filter() -> None:
    parsed = parse_sync_filter(
        {
            "room": {
                "rooms": [ROOM],
                "not_rooms": ["!spam"],
                "include_leave": True,
                "state": {"types": ["m.room.*"], "lazy_load_members": True},
                "timeline": {"limit": 10, "unread_thread_notifications": True},
                "ephemeral": {"not_types": ["m.typing"]},
                "account_data": {"limit": 5},
            },
            "presence": {"types": ["m.presence"]},
            "account_data": {"not_types": ["*"]},
            "event_format": "federation",
            "event_fields": ["type", "content"],
            "org.example.unknown": {"x": 1},
        }
    )
    assert parsed.room.include_leave
    assert parsed.room.allows_room(ROOM)
    assert not parsed.room.allows_room("!spam")
    assert not parsed.room.allows_room("!third")
    assert parsed.room.state.lazy_load_members
    assert parsed.room.timeline.limit == 10
    assert parsed.room.timeline.unread_thread_notifications
    assert not parsed.room.ephemeral.allows("m.typing")
    assert parsed.account_data.wants_nothing
    assert parsed.event_format is EventFormat.FEDERATION
    assert parsed.event_fields == {"type": None, "content": None}


@pytest.mark.parametrize("value", [{}, {"room": {}}, {"room": None, "event_fields": []}])
def test_an_empty_filter_is_no_filter(value: dict[str, Any]) -> None:
    assert parse_sync_filter(value) == NO_FILTER


def test_relations_are_recorded() -> None:
    parsed = parse_room_event_filter(
        {"related_by_senders": [SENDER], "related_by_rel_types": ["m.thread"]}
    )
    assert parsed.related_by_senders == frozenset({SENDER})
    assert parsed.related_by_rel_types == frozenset({"m.thread"})
    assert not parsed.is_empty


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (10**9, MAX_LIMIT), (None, None)])
def test_limits_are_clamped(limit: int | None, expected: int | None) -> None:
    assert parse_room_event_filter({"limit": limit}).limit == expected


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], BadJson),
        ("filter", BadJson),
        ({"presence": "x"}, BadJson),
        ({"room": []}, BadJson),
        ({"room": {"timeline": "x"}}, BadJson),
        ({"room": {"state": "x"}}, BadJson),
        ({"room": {"ephemeral": "x"}}, BadJson),
        ({"room": {"account_data": "x"}}, BadJson),
        ({"room": {"timeline": {"rooms": "x"}}}, BadJson),
        ({"room": {"timeline": {"not_rooms": "x"}}}, BadJson),
        ({"room": {"timeline": {"senders": "x"}}}, BadJson),
        ({"room": {"timeline": {"not_senders": "x"}}}, BadJson),
        ({"room": {"timeline": {"types": "x"}}}, BadJson),
        ({"room": {"timeline": {"not_types": "x"}}}, BadJson),
        ({"room": {"timeline": {"types": [1]}}}, BadJson),
        ({"room": {"timeline": {"rooms": ["not_a_room_id"]}}}, InvalidParam),
        ({"room": {"timeline": {"senders": ["not_a_sender_id"]}}}, InvalidParam),
        ({"room": {"timeline": {"limit": -1}}}, InvalidParam),
        ({"room": {"timeline": {"limit": "10"}}}, BadJson),
        ({"room": {"timeline": {"limit": True}}}, BadJson),
        ({"room": {"timeline": {"contains_url": "yes"}}}, BadJson),
        ({"room": {"include_leave": 1}}, BadJson),
        ({"event_format": "raw"}, InvalidParam),
        ({"event_format": []}, InvalidParam),
        ({"event_fields": "type"}, BadJson),
        ({"event_fields": ["a"] * 2}, None),
        ({"event_fields": [str(number) for number in range(600)]}, InvalidParam),
    ],
)
def test_malformed_filters_are_refused(value: Any, error: type[MatrixError] | None) -> None:
    if error is None:
        assert parse_sync_filter(value).event_fields == {"a": None}
        return
    with pytest.raises(error):
        parse_sync_filter(value)


EVENT = {
    "type": "m.room.message",
    "content": {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": "$r"}},
    "sender": SENDER,
}


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        (["type"], {"type": "m.room.message"}),
        (["content.body"], {"content": {"body": "x"}}),
        (
            [r"content.m\.relates_to.rel_type"],
            {"content": {"m.relates_to": {"rel_type": "m.thread"}}},
        ),
        (["content.m.relates_to"], {}),
        (["content", "content.body"], {"content": EVENT["content"]}),
        (["content.body", "content"], {"content": EVENT["content"]}),
        (["type.deeper", "absent", "content.absent"], {}),
    ],
)
def test_only_wanted_fields_are_kept(paths: list[str], kept: dict[str, Any]) -> None:
    assert keep_fields(EVENT, parse_event_fields(paths)) == kept


names = st.sampled_from(["a", "b", "c.d", "e\\"])
json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
)
paths = st.lists(st.sampled_from(["a", "b", "a.b", r"c\.d", r"a.c\.d.b", "e\\\\.a"]), max_size=3)


@given(st.dictionaries(names, json_values, max_size=4), paths)
def test_keeping_fields_never_adds_and_is_stable(event: dict[str, Any], wanted: list[str]) -> None:
    tree = parse_event_fields(wanted)
    kept = keep_fields(event, tree)
    assert is_part(kept, event)
    assert keep_fields(kept, tree) == kept


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(part[name], whole[name]) for name in part)
    return bool(part == whole)
