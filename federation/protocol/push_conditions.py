"""The conditions of push rules: what they may say, and compiling them to tests of an event.

A condition is either the same for every user, then it is tested once for an event and all users
of the room, or it speaks of the user's own name, then it is a personal test. Of a third sort is the
one that asks for the user's subscription to the event's thread.
Source: client-server API, push notifications, "Conditions"; MSC4306.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from federation.protocol.default_push_rules import THREAD_SUBSCRIPTION, OwnValue
from federation.protocol.errors import InvalidParam, MissingParam
from federation.protocol.glob import compile_glob, compile_word_glob, compile_words, fold
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import PowerLevels
from federation.protocol.property_path import ABSENT, find_property

MAX_PATTERN_LENGTH: Final = 512

Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoomContext:
    """The room at the event, as far as conditions ask: joined members and power levels.

    The power levels are None for a room that is held elsewhere; nobody is known to have any there.
    """

    room_id: str
    member_count: int
    power_levels: PowerLevels | None


class EventView:
    """One event in its room, as conditions see it; make one for an event and all its readers.

    What was looked up once is remembered, and so is, in `candidates`, which rules of a program
    (see `push_evaluation`) are left when all that is common to the readers has been tested.
    """

    __slots__ = ("_texts", "_values", "candidates", "event_type", "fields", "room", "sender")

    def __init__(self, fields: Mapping[str, Any], room: RoomContext) -> None:
        self.fields = fields
        self.room = room
        self.event_type: str = fields["type"]
        self.sender: str = fields["sender"]
        self.candidates: dict[object, tuple[Any, ...]] = {}
        self._values: dict[str, Any] = {}
        self._texts: dict[str, str | None] = {}

    @classmethod
    def of(cls, pdu: Pdu, room: RoomContext) -> "EventView":
        """The view of a PDU."""
        fields = {
            "content": pdu.content,
            "event_id": pdu.event_id,
            "origin_server_ts": pdu.origin_server_ts,
            "room_id": pdu.room_id,
            "sender": pdu.sender,
            "type": pdu.type,
        }
        if pdu.state_key is not None:
            fields["state_key"] = pdu.state_key
        if pdu.redacts is not None:
            fields["redacts"] = pdu.redacts
        return cls(fields, room)

    def value(self, path: str) -> Any:
        """The property at a dot-separated path, or `ABSENT`."""
        try:
            return self._values[path]
        except KeyError:
            value = self._values[path] = find_property(self.fields, path)
            return value

    def text(self, path: str) -> str | None:
        """The property if it is a string, folded for case-insensitive comparison."""
        try:
            return self._texts[path]
        except KeyError:
            value = self.value(path)
            text = self._texts[path] = fold(value) if isinstance(value, str) else None
            return text


SharedTest = Callable[[EventView], bool]
PersonalTest = Callable[[EventView, str, str | None], bool]
"""Takes the event, the user's ID and the user's display name in the room."""

BODY: Final = "content.body"


def is_personal(condition: Condition) -> bool:
    """Whether the answer depends on who asks."""
    return condition.get("kind") == "contains_display_name" or any(
        isinstance(value, OwnValue) for value in condition.values()
    )


def asks_for_display_name(condition: Condition) -> bool:
    """Whether the answer depends on the display name of who asks."""
    return condition.get("kind") == "contains_display_name"


def compile_shared(condition: Condition) -> SharedTest:
    """The test for a condition that is the same for all; a malformed or unknown one never holds."""
    kind = condition.get("kind")
    build = _SHARED.get(kind) if isinstance(kind, str) else None
    return _never if build is None else build(condition)


def compile_personal(condition: Condition) -> PersonalTest:
    """The test for a condition that `is_personal`."""
    match condition:
        case {"kind": "contains_display_name"}:
            return _contains_display_name
        case {"kind": "event_match", "key": str(key), "pattern": OwnValue.USER_ID}:
            return lambda event, user_id, _: event.text(key) == fold(user_id)
        case {"kind": "event_match", "key": "content.body", "pattern": OwnValue.LOCALPART}:
            return _contains_localpart
        case {"kind": "event_property_contains", "key": str(key), "value": OwnValue.USER_ID}:
            return lambda event, user_id, _: _contains(event.value(key), user_id)
        case _:
            return lambda _event, _user_id, _display_name: False


def literal_event_type(condition: Condition) -> str | None:
    """The folded event type of an `event_match` condition that names one without wildcards."""
    match condition:
        case {"kind": "event_match", "key": "type", "pattern": str(pattern)}:
            return None if "*" in pattern or "?" in pattern else fold(pattern)
        case _:
            return None


def wanted_subscription(condition: Condition) -> bool | None:
    """What a condition wants the subscription to the thread to be; None for all others."""
    match condition:
        case {"kind": str(kind), "subscribed": bool(wanted)} if kind == THREAD_SUBSCRIPTION:
            return wanted
        case _:
            return None


def is_in_thread(event: EventView) -> bool:
    """Whether the event is in a thread, without which nobody is subscribed or unsubscribed."""
    return event.value("content.m\\.relates_to.rel_type") == "m.thread" and isinstance(
        event.value("content.m\\.relates_to.event_id"), str
    )


def check_condition(condition: object) -> Condition:
    """A condition that a user may give to a rule; unknown kinds are kept, they never hold.

    Raises `InvalidParam`, `MissingParam`.
    """
    if not isinstance(condition, Mapping):
        raise InvalidParam("A condition must be an object")
    kind = _required(condition, "kind")
    match kind:
        case "event_match":
            _required(condition, "key")
            check_pattern(_required(condition, "pattern"))
        case "event_property_is" | "event_property_contains":
            _required(condition, "key")
            if "value" not in condition:
                raise MissingParam(f"A condition of kind {kind} needs 'value'")
            if not _is_plain(condition["value"]):
                raise InvalidParam("'value' must be a string, an integer, a boolean or null")
        case "room_member_count":
            if _parse_count(_required(condition, "is")) is None:
                raise InvalidParam("'is' must be a number, optionally after ==, <, >, >= or <=")
        case "sender_notification_permission":
            _required(condition, "key")
    return condition


def check_pattern(pattern: str) -> str:
    """A glob pattern that a user may give to a rule; raises `InvalidParam`."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise InvalidParam(f"A pattern may have at most {MAX_PATTERN_LENGTH} characters")
    return pattern


def _required(condition: Condition, name: str) -> str:
    if name not in condition:
        raise MissingParam(f"A condition needs {name!r}")
    value = condition[name]
    if not isinstance(value, str):
        raise InvalidParam(f"{name!r} of a condition must be a string")
    return value


def _never(_event: EventView) -> bool:
    return False


def _event_match(condition: Condition) -> SharedTest:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return _never
    compile_pattern = compile_word_glob if key == BODY else compile_glob
    matches = compile_pattern(fold(pattern))

    def test(event: EventView) -> bool:
        text = event.text(key)
        return text is not None and matches(text)

    return test


def _event_property_is(condition: Condition) -> SharedTest:
    key, value = condition.get("key"), condition.get("value", ABSENT)
    if not isinstance(key, str) or not _is_plain(value):
        return _never
    kind = type(value)

    def test(event: EventView) -> bool:
        found = event.value(key)
        return type(found) is kind and bool(found == value)

    return test


def _event_property_contains(condition: Condition) -> SharedTest:
    key, value = condition.get("key"), condition.get("value", ABSENT)
    if not isinstance(key, str) or not _is_plain(value):
        return _never
    return lambda event: _contains(event.value(key), value)


def _contains(array: object, value: object) -> bool:
    if not isinstance(array, list) or value not in array:
        return False
    # `in` takes 1, 1.0 and True for the same.
    return isinstance(value, str) or any(type(v) is type(value) and v == value for v in array)


def _is_plain(value: object) -> bool:
    """Whether the value is of canonical JSON and not compound."""
    if type(value) is int:
        return abs(value) < 2**53
    return value is None or isinstance(value, str | bool)


_COUNT = re.compile(r"(==|<=|>=|<|>|)([0-9]{1,15})")
_COMPARISONS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "": operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _parse_count(text: object) -> tuple[Callable[[int, int], bool], int] | None:
    found = _COUNT.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else (_COMPARISONS[found[1]], int(found[2]))


def _room_member_count(condition: Condition) -> SharedTest:
    comparison = _parse_count(condition.get("is"))
    if comparison is None:
        return _never
    holds, count = comparison
    return lambda event: holds(event.room.member_count, count)


def _sender_notification_permission(condition: Condition) -> SharedTest:
    key = condition.get("key")
    if not isinstance(key, str):
        return _never

    def test(event: EventView) -> bool:
        levels = event.room.power_levels
        return levels is not None and levels.of(event.sender) >= levels.notification(key)

    return test


_SHARED: Final[Mapping[str, Callable[[Condition], SharedTest]]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}


def _contains_display_name(event: EventView, _user_id: str, display_name: str | None) -> bool:
    body = event.text(BODY)
    return bool(body and display_name) and compile_words(fold(display_name or ""))(body or "")


def _contains_localpart(event: EventView, user_id: str, _display_name: str | None) -> bool:
    body = event.text(BODY)
    return body is not None and compile_words(fold(user_id[1:].partition(":")[0]))(body)
