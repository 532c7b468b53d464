"""What a client asks of sliding sync, read from the body of its request.

Source: MSC4186, in the form that clients speak (`org.matrix.simplified_msc3575`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import BadJson, InvalidParam, MissingParam
from homeserver.sync.sliding.required_state import RequiredState, from_pairs
from homeserver.sync.token import StickyMark, parse_sticky_mark

MOST_LISTS = 100
MOST_SUBSCRIPTIONS = 100
MOST_RANGES = 20
MOST_PAIRS = 200
MOST_NAMES = 1_000
"""Rooms, spaces, tags or types that are named in one place."""
MAX_TIMELINE = 100
MAX_CONN_ID = 64
MAX_KEY = 255
MAX_TEXT = 255
MAX_TXN_ID = 255
MAX_NUMBER = 2**31 - 1
MOST_AT_ONCE = 100
"""Messages to the device, subscriptions to threads, or sticky events, in one answer."""
STICKY_EVENTS = "org.matrix.msc4354.sticky_events"
THREAD_SUBSCRIPTIONS = "io.element.msc4308.thread_subscriptions"


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """What is wanted of a room."""

    timeline_limit: int
    required: RequiredState


@dataclass(frozen=True, slots=True)
class RoomFilter:
    """Which rooms a list has; None and an absent set let all through."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    spaces: frozenset[str] | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] = frozenset()
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] = frozenset()
    name_like: str | None = None


@dataclass(frozen=True, slots=True)
class RoomList:
    """A list: a filter, and the places of the filtered rooms that are wanted (both inclusive)."""

    config: RoomConfig
    ranges: tuple[tuple[int, int], ...] | None
    """None for all rooms."""
    wanted: RoomFilter


@dataclass(frozen=True, slots=True)
class RoomScope:
    """Of which rooms an extension is wanted: lists and subscriptions by name; None for all."""

    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ToDeviceWanted:
    """Messages to the device after `since`, at most `limit`."""

    since: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class ThreadsWanted:
    """The latest changes of subscriptions to threads, at most `limit`."""

    limit: int


@dataclass(frozen=True, slots=True)
class StickyWanted:
    """Sticky events after `since`, at most `limit`."""

    since: StickyMark | None
    limit: int


@dataclass(frozen=True, slots=True)
class Extensions:
    """What is wanted beside rooms; None for an extension that is not."""

    to_device: ToDeviceWanted | None = None
    e2ee: bool = False
    account_data: RoomScope | None = None
    receipts: RoomScope | None = None
    typing: RoomScope | None = None
    threads: ThreadsWanted | None = None
    sticky: StickyWanted | None = None


@dataclass(frozen=True, slots=True)
class SlidingRequest:
    """The body of a request, the same for equal ones."""

    conn_id: str
    txn_id: str | None
    lists: Mapping[str, RoomList]
    subscriptions: Mapping[str, RoomConfig]
    extensions: Extensions


def parse_request(body: Mapping[str, Any]) -> SlidingRequest:
    """The request of a body. Raises `BadJson`, `InvalidParam`, `MissingParam`."""
    conn_id = text_of(body, "conn_id", MAX_CONN_ID) or ""
    txn_id = text_of(body, "txn_id", MAX_TXN_ID)
    lists = object_of(body, "lists")
    subscriptions = object_of(body, "room_subscriptions")
    if len(lists) > MOST_LISTS:
        raise InvalidParam(f"There may be at most {MOST_LISTS} lists")
    if len(subscriptions) > MOST_SUBSCRIPTIONS:
        raise InvalidParam(f"There may be at most {MOST_SUBSCRIPTIONS} room subscriptions")
    return SlidingRequest(
        conn_id,
        txn_id,
        {check_text(key, MAX_KEY): parse_list(item) for key, item in lists.items()},
        {check_text(key, MAX_KEY): parse_config(item) for key, item in subscriptions.items()},
        parse_extensions(object_of(body, "extensions")),
    )


def parse_list(item: object) -> RoomList:
    """A list. Raises `BadJson`, `InvalidParam`, `MissingParam`."""
    fields = check_object(item)
    return RoomList(
        parse_config(fields), parse_ranges(fields), parse_filter(object_of(fields, "filters"))
    )


def parse_config(item: object) -> RoomConfig:
    """What is wanted of rooms. Raises `BadJson`, `InvalidParam`, `MissingParam`."""
    fields = check_object(item)
    limit = number_of(fields, "timeline_limit")
    if limit is None:
        raise MissingParam("Missing parameter 'timeline_limit'")
    pairs = array_of(fields, "required_state", MOST_PAIRS) or ()
    return RoomConfig(min(limit, MAX_TIMELINE), from_pairs(map(parse_pair, pairs)))


def parse_pair(item: object) -> tuple[str, str]:
    """An event type and a state key. Raises `BadJson`, `InvalidParam`."""
    if not isinstance(item, list) or len(item) != 2:
        raise BadJson("'required_state' must have pairs of event type and state key")
    return check_text(item[0], MAX_TEXT), check_text(item[1], MAX_TEXT)


def parse_ranges(fields: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    """The ranges of a list. Raises `BadJson`, `InvalidParam`."""
    ranges = array_of(fields, "ranges", MOST_RANGES)
    if ranges is None and fields.get("range") is not None:
        ranges = [fields["range"]]
    return None if ranges is None else tuple(map(parse_range, ranges))


def parse_range(item: object) -> tuple[int, int]:
    """A range of places. Raises `BadJson`, `InvalidParam`."""
    if not isinstance(item, list) or len(item) != 2 or not all(map(is_number, item)):
        raise BadJson("A range must have the first and the last place")
    first, last = item
    if first > last:
        raise InvalidParam("A range must not end before it begins")
    return first, min(last, MAX_NUMBER)


def parse_filter(fields: Mapping[str, Any]) -> RoomFilter:
    """The filter of a list. Raises `BadJson`, `InvalidParam`."""
    is_invite = flag_of(fields, "is_invite")
    return RoomFilter(
        is_dm=flag_of(fields, "is_dm"),
        is_encrypted=flag_of(fields, "is_encrypted"),
        is_invite=flag_of(fields, "is_invited") if is_invite is None else is_invite,
        spaces=names_of(fields, "spaces"),
        room_types=types_of(fields, "room_types"),
        not_room_types=types_of(fields, "not_room_types") or frozenset(),
        tags=names_of(fields, "tags"),
        not_tags=names_of(fields, "not_tags") or frozenset(),
        name_like=text_of(fields, "room_name_like", MAX_TEXT),
    )


def parse_extensions(fields: Mapping[str, Any]) -> Extensions:
    """The extensions that are enabled. Raises `BadJson`, `InvalidParam`."""
    to_device = enabled(fields, "to_device")
    return Extensions(
        to_device=None if to_device is None else parse_to_device(to_device),
        e2ee=enabled(fields, "e2ee") is not None,
        account_data=parse_scope(enabled(fields, "account_data")),
        receipts=parse_scope(enabled(fields, "receipts")),
        typing=parse_scope(enabled(fields, "typing")),
        threads=parse_threads(enabled(fields, THREAD_SUBSCRIPTIONS)),
        sticky=parse_sticky(enabled(fields, STICKY_EVENTS)),
    )


def parse_threads(fields: Mapping[str, Any] | None) -> ThreadsWanted | None:
    """What is wanted of subscriptions to threads. Raises `BadJson`."""
    if fields is None:
        return None
    return ThreadsWanted(limit_of(fields))


def parse_sticky(fields: Mapping[str, Any] | None) -> StickyWanted | None:
    """What is wanted of sticky events. Raises `BadJson`, `InvalidParam`."""
    if fields is None:
        return None
    token = text_of(fields, "since", MAX_TEXT)
    mark = None if token is None else parse_sticky_mark(token)
    if token is not None and mark is None:
        raise InvalidParam(f"'since' of {STICKY_EVENTS} is not a token that this server gave out")
    return StickyWanted(mark, limit_of(fields))


def limit_of(fields: Mapping[str, Any]) -> int:
    """How many are wanted in one answer. Raises `BadJson`."""
    limit = number_of(fields, "limit")
    return MOST_AT_ONCE if limit is None else max(1, min(limit, MOST_AT_ONCE))


def parse_to_device(fields: Mapping[str, Any]) -> ToDeviceWanted:
    """What is wanted of the device's messages. Raises `BadJson`, `InvalidParam`."""
    since = text_of(fields, "since", MAX_TEXT)
    if since is not None and not (since.isascii() and since.isdecimal() and len(since) < 19):
        raise InvalidParam("'since' of to_device is not a token that this server gave out")
    return ToDeviceWanted(None if since is None else int(since), limit_of(fields))


def parse_scope(fields: Mapping[str, Any] | None) -> RoomScope | None:
    """Of which rooms an extension is wanted. Raises `BadJson`, `InvalidParam`."""
    if fields is None:
        return None
    lists, rooms = names_of(fields, "lists"), names_of(fields, "rooms")
    return RoomScope(
        None if lists is None or "*" in lists else lists,
        None if rooms is None or "*" in rooms else rooms,
    )


def enabled(fields: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The configuration of an extension, or None if it is not enabled. Raises `BadJson`."""
    extension = object_of(fields, key)
    return extension if flag_of(extension, "enabled") else None


def check_object(value: object) -> Mapping[str, Any]:
    """An object. Raises `BadJson`."""
    if not isinstance(value, dict):
        raise BadJson("Lists, room subscriptions and extensions must be objects")
    return value


def object_of(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at `key`, empty where it is absent. Raises `BadJson`."""
    value = fields.get(key)
    return {} if value is None else check_object(value)


def array_of(fields: Mapping[str, Any], key: str, most: int) -> list[Any] | None:
    """The array at `key`, or None. Raises `BadJson`, `InvalidParam`."""
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadJson(f"'{key}' must be an array")
    if len(value) > most:
        raise InvalidParam(f"'{key}' may have at most {most} items")
    return value


def names_of(fields: Mapping[str, Any], key: str) -> frozenset[str] | None:
    """The strings at `key`, or None. Raises `BadJson`, `InvalidParam`."""
    names = array_of(fields, key, MOST_NAMES)
    return None if names is None else frozenset(check_text(name, MAX_TEXT) for name in names)


def types_of(fields: Mapping[str, Any], key: str) -> frozenset[str | None] | None:
    """The types of rooms at `key`, or None. Raises `BadJson`, `InvalidParam`."""
    types = array_of(fields, key, MOST_NAMES)
    if types is None:
        return None
    return frozenset(None if kind is None else check_text(kind, MAX_TEXT) for kind in types)


def text_of(fields: Mapping[str, Any], key: str, longest: int) -> str | None:
    """The string at `key`, or None. Raises `BadJson`, `InvalidParam`."""
    value = fields.get(key)
    return None if value is None else check_text(value, longest)


def check_text(value: object, longest: int) -> str:
    """A string. Raises `BadJson`, `InvalidParam`."""
    if not isinstance(value, str) or "\0" in value:
        raise BadJson("Names and identifiers must be strings without NUL characters")
    if len(value) > longest:
        raise InvalidParam(f"A name has more than {longest} characters")
    return value


def flag_of(fields: Mapping[str, Any], key: str) -> bool | None:
    """The boolean at `key`, or None. Raises `BadJson`."""
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadJson(f"'{key}' must be true or false")
    return value


def number_of(fields: Mapping[str, Any], key: str) -> int | None:
    """The number at `key`, or None. Raises `BadJson`."""
    value = fields.get(key)
    if value is not None and not is_number(value):
        raise BadJson(f"'{key}' must be a whole number that is not negative")
    return value


def is_number(value: object) -> bool:
    """Whether a value is a whole number that is not negative."""
    return type(value) is int and value >= 0
