"""Each kind of condition, with the examples of the specification."""

from typing import Any

import pytest

from federation.protocol.default_push_rules import OwnValue
from federation.protocol.errors import InvalidParam, MatrixError, MissingParam
from federation.protocol.push_conditions import (
    EventView,
    check_condition,
    compile_personal,
    compile_shared,
    is_personal,
    literal_event_type,
)
from tests.protocol.push_rooms import ALICE, BOB, event, text, view


def holds(condition: dict[str, Any], event_view: EventView) -> bool:
    return compile_shared(condition)(event_view)


def topic(value: Any) -> EventView:
    return view(event({"topic": value}, "m.room.topic", state_key=""))


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ("Lunch plans", True),
        ("LUNCH", True),
        (" lunch", False),
        ("lunc", False),
        (None, False),
        (["lunch"], False),
        (1, False),
    ],
)
def test_event_match_needs_the_whole_value(value: Any, matches: bool) -> None:
    condition = {"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"}
    assert holds(condition, topic(value)) is matches


@pytest.mark.parametrize(
    ("body", "matches"),
    [
        ("An example event.", True),
        ("exple", True),
        ("An exciting triple-whammy", True),
        ("EXAMPLE", True),
        ("examples", False),
        ("an_example", False),
    ],
)
def test_event_match_of_the_body_needs_whole_words(body: str, matches: bool) -> None:
    condition = {"kind": "event_match", "key": "content.body", "pattern": "ex*ple"}
    assert holds(condition, view(text(body))) is matches


def test_event_match_of_an_absent_property_never_holds() -> None:
    for key in ("content.absent", "state_key", "content.body.deeper", "content"):
        condition = {"kind": "event_match", "key": key, "pattern": "*"}
        assert not holds(condition, view(text("Hello")))


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("type", "M.room.MESSAGE"),
        ("sender", "@bob:*"),
        ("room_id", "!room:example.org"),
        (r"content.m\.relates_to.rel_type", "m.thread"),
    ],
)
def test_event_match_reads_all_of_the_event(key: str, pattern: str) -> None:
    message = text("Hello", **{"m.relates_to": {"rel_type": "m.thread"}})
    assert holds({"kind": "event_match", "key": key, "pattern": pattern}, view(message))


@pytest.mark.parametrize(
    ("value", "found", "matches"),
    [
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (1, 1.0, False),
        (None, None, True),
        ("a", "a", True),
        ("a", "A", False),
        ("a", ["a"], False),
    ],
)
def test_event_property_is_compares_value_and_type(value: Any, found: Any, matches: bool) -> None:
    condition = {"kind": "event_property_is", "key": r"content.m\.federate", "value": value}
    assert holds(condition, view(event({"m.federate": found}))) is matches
    assert not holds(condition, view(event({})))


@pytest.mark.parametrize(
    ("value", "array", "matches"),
    [
        ("#myroom:example.com", ["#a:example.org", "#myroom:example.com"], True),
        (":example.com", ["#a:example.org", "#myroom:example.com"], False),
        ("a", "a", False),
        ("a", {"a": 1}, False),
        (1, [True, 1.0], False),
        (1, [True, 1], True),
        (True, [1], False),
        (None, [None], True),
        ("a", [["a"], {"a": "a"}], False),
    ],
)
def test_event_property_contains_finds_an_equal_element(
    value: Any, array: Any, matches: bool
) -> None:
    condition = {"kind": "event_property_contains", "key": "content.list", "value": value}
    assert holds(condition, view(event({"list": array}))) is matches
    assert not holds(condition, view(event({})))


@pytest.mark.parametrize(
    ("comparison", "counts"),
    [
        ("2", {2}),
        ("==2", {2}),
        ("<2", {0, 1}),
        (">2", {3, 4}),
        ("<=2", {0, 1, 2}),
        (">=2", {2, 3, 4}),
        ("=2", set()),
        ("two", set()),
        ("", set()),
        ("-1", set()),
        (2, set()),
        (None, set()),
    ],
)
def test_room_member_count_compares(comparison: Any, counts: set[int]) -> None:
    condition = {"kind": "room_member_count", "is": comparison}
    holding = {count for count in range(5) if holds(condition, view(text("x"), count))}
    assert holding == counts


@pytest.mark.parametrize(
    ("levels", "key", "permitted"),
    [
        ({}, "room", False),
        ({"users": {BOB: 49}}, "room", False),
        ({"users": {BOB: 50}}, "room", True),
        ({"users_default": 50}, "room", True),
        ({"users": {BOB: 20}, "notifications": {"room": 20}}, "room", True),
        ({"users": {BOB: 60}, "notifications": {"room": 100}}, "room", False),
        ({"users": {BOB: 60}, "notifications": {"room": 100}}, "other", True),
    ],
)
def test_the_sender_needs_the_power_to_notify(
    levels: dict[str, Any], key: str, permitted: bool
) -> None:
    condition = {"kind": "sender_notification_permission", "key": key}
    assert holds(condition, view(text("@room"), levels=levels)) is permitted


@pytest.mark.parametrize(
    ("name", "body", "matches"),
    [
        ("Alice", "hello alice!", True),
        ("Alice", "malice", False),
        ("A*e", "hello alice", False),
        ("A*e", "hello a*E", True),
        ("Alice B", "is alice b there", True),
        ("", "hello", False),
        (None, "hello", False),
    ],
)
def test_the_display_name_is_found_as_words(name: str | None, body: str, matches: bool) -> None:
    condition = {"kind": "contains_display_name"}
    assert is_personal(condition)
    assert compile_personal(condition)(view(text(body)), ALICE, name) is matches
    assert not compile_personal(condition)(view(event({})), ALICE, name)


def test_own_values_stand_for_the_user() -> None:
    mention = {"kind": "event_property_contains", "key": "content.u", "value": OwnValue.USER_ID}
    name = {"kind": "event_match", "key": "content.body", "pattern": OwnValue.LOCALPART}
    assert is_personal(mention)
    assert compile_personal(mention)(view(event({"u": [BOB, ALICE]})), ALICE, None)
    assert not compile_personal(mention)(view(event({"u": [BOB]})), ALICE, None)
    assert compile_personal(name)(view(text("Hi Alice")), ALICE, None)
    assert not compile_personal(name)(view(text("Hi Bob")), ALICE, None)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"kind": "org.example.unknown"},
        {"kind": ["event_match"]},
        {"kind": "event_match"},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "key": "type", "pattern": 1},
        {"kind": "event_property_is", "key": "type"},
        {"kind": "event_property_is", "key": "content.f", "value": 1.5},
        {"kind": "event_property_contains", "value": "a"},
        {"kind": "sender_notification_permission"},
    ],
)
def test_unknown_and_malformed_conditions_never_hold(condition: dict[str, Any]) -> None:
    assert not holds(condition, view(event({"f": 1.5}), levels={"users_default": 100}))


def test_only_a_type_without_wildcards_is_literal() -> None:
    def literal(key: str, pattern: str) -> str | None:
        return literal_event_type({"kind": "event_match", "key": key, "pattern": pattern})

    assert literal("type", "M.Reaction") == "m.reaction"
    assert literal("type", "m.*") is None
    assert literal("type", "m.reactio?") is None
    assert literal("sender", "m.reaction") is None


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("event_match", InvalidParam),
        ({}, MissingParam),
        ({"kind": 1}, InvalidParam),
        ({"kind": "event_match", "pattern": "x"}, MissingParam),
        ({"kind": "event_match", "key": "type"}, MissingParam),
        ({"kind": "event_match", "key": 1, "pattern": "x"}, InvalidParam),
        ({"kind": "event_match", "key": "type", "pattern": "x" * 1000}, InvalidParam),
        ({"kind": "event_property_is", "key": "type"}, MissingParam),
        ({"kind": "event_property_is", "key": "type", "value": 1.5}, InvalidParam),
        ({"kind": "event_property_contains", "key": "type", "value": []}, InvalidParam),
        ({"kind": "room_member_count", "is": "many"}, InvalidParam),
        ({"kind": "room_member_count"}, MissingParam),
        ({"kind": "sender_notification_permission"}, MissingParam),
    ],
)
def test_malformed_conditions_are_refused(condition: Any, error: type[MatrixError]) -> None:
    with pytest.raises(error):
        check_condition(condition)


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "org.example.unknown", "x": 1},
        {"kind": "contains_display_name"},
        {"kind": "event_property_is", "key": "content.x", "value": None},
        {"kind": "room_member_count", "is": "<=10"},
    ],
)
def test_unknown_kinds_and_well_formed_conditions_are_kept(condition: Any) -> None:
    assert check_condition(condition) is condition
