"""Filters: what a client wants to see of events, and in what shape.

Parsing checks types and values once; afterwards a filter is asked event by event, or asked for
lists that SQL understands. `is_empty` tells that there is nothing to ask.
Source: client-server API, "Filtering".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, Final, Union

from federation.protocol.errors import BadJson, InvalidParam
from federation.protocol.glob import GlobSet, like_pattern
from federation.protocol.property_path import parse_path

MAX_LIMIT: Final = 1000
MAX_ENTRIES: Final = 10_000
MAX_EVENT_FIELDS: Final = 500

FieldTree = dict[str, Union["FieldTree", None]]
"""Wanted properties by name: None takes the whole value, a tree takes properties of it."""

_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class EventFilter:
    """Which events are wanted, by sender and type; None includes all.

    It has no slots because of what it keeps when first asked.
    """

    limit: int | None = None
    types: tuple[str, ...] | None = None
    not_types: tuple[str, ...] = ()
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = _NOTHING

    @cached_property
    def is_empty(self) -> bool:
        """Whether every event is wanted, however many."""
        return replace(self, limit=None) == EventFilter()

    @cached_property
    def wants_nothing(self) -> bool:
        """Whether no event can pass, so that there is nothing to look for."""
        return (
            self.limit == 0
            or self.types == ()
            or self.senders == frozenset()
            or "*" in self.not_types
        )

    @cached_property
    def types_like(self) -> list[str] | None:
        r"""The wanted types as SQL `LIKE` patterns, escaped by `\`; None if all are wanted."""
        return None if self.types is None else [like_pattern(name) for name in self.types]

    @cached_property
    def not_types_like(self) -> list[str]:
        r"""The unwanted types as SQL `LIKE` patterns, escaped by `\`."""
        return [like_pattern(name) for name in self.not_types]

    def allows_type(self, event_type: str) -> bool:
        """Whether events of the type may be wanted."""
        wanted, unwanted = self._types
        return not unwanted.matches(event_type) and (wanted is None or wanted.matches(event_type))

    def allows_sender(self, sender: str) -> bool:
        """Whether events of the sender may be wanted."""
        if sender in self.not_senders:
            return False
        return self.senders is None or sender in self.senders

    def allows(self, event_type: str, sender: str | None = None) -> bool:
        """Whether the event is wanted as far as type and sender tell.

        What has no sender, such as account data, is judged by its type alone.
        """
        if self.is_empty:
            return True
        return self.allows_type(event_type) and (sender is None or self.allows_sender(sender))

    @cached_property
    def _types(self) -> tuple[GlobSet | None, GlobSet]:
        wanted = None if self.types is None else GlobSet(self.types, question_mark=False)
        return wanted, GlobSet(self.not_types, question_mark=False)


@dataclass(frozen=True)
class RoomEventFilter(EventFilter):
    """Which events of rooms are wanted.

    `rel_types` and `not_rel_types` (MSC3874) are about an event's own relation. All relation
    filters are left to the caller, who knows what relates to an event.
    """

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = _NOTHING
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_senders: frozenset[str] | None = None
    related_by_rel_types: frozenset[str] | None = None
    rel_types: frozenset[str] | None = None
    not_rel_types: frozenset[str] = _NOTHING

    @cached_property
    def is_empty(self) -> bool:
        """Whether every event is wanted, however many, members when lazily loaded aside."""
        return (
            replace(
                self,
                limit=None,
                lazy_load_members=False,
                include_redundant_members=False,
                unread_thread_notifications=False,
            )
            == RoomEventFilter()
        )

    def allows_room(self, room_id: str) -> bool:
        """Whether events of the room may be wanted."""
        if room_id in self.not_rooms:
            return False
        return self.rooms is None or room_id in self.rooms

    def allows_content(self, content: Mapping[str, Any]) -> bool:
        """Whether an event with the content may be wanted."""
        return self.contains_url is None or ("url" in content) is self.contains_url

    def allows_event(
        self, event_type: str, sender: str, room_id: str, content: Mapping[str, Any]
    ) -> bool:
        """Whether the event is wanted, its relations aside."""
        return self.is_empty or (
            self.allows(event_type, sender)
            and self.allows_room(room_id)
            and self.allows_content(content)
        )


class EventFormat(Enum):
    """The shape in which events are sent."""

    CLIENT = "client"
    FEDERATION = "federation"


NO_EVENT_FILTER: Final = EventFilter()
NO_ROOM_EVENT_FILTER: Final = RoomEventFilter()


@dataclass(frozen=True, slots=True)
class RoomFilter:
    """What is wanted of rooms; `rooms` and `not_rooms` come before the filters inside."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = _NOTHING
    include_leave: bool = False
    account_data: RoomEventFilter = NO_ROOM_EVENT_FILTER
    ephemeral: RoomEventFilter = NO_ROOM_EVENT_FILTER
    state: RoomEventFilter = NO_ROOM_EVENT_FILTER
    timeline: RoomEventFilter = NO_ROOM_EVENT_FILTER

    def allows_room(self, room_id: str) -> bool:
        """Whether anything of the room is wanted."""
        if room_id in self.not_rooms:
            return False
        return self.rooms is None or room_id in self.rooms


@dataclass(frozen=True, slots=True)
class SyncFilter:
    """What a /sync request wants. `event_fields` is None for all fields."""

    event_fields: FieldTree | None = None
    event_format: EventFormat = EventFormat.CLIENT
    presence: EventFilter = NO_EVENT_FILTER
    account_data: EventFilter = NO_EVENT_FILTER
    room: RoomFilter = field(default_factory=RoomFilter)


NO_FILTER: Final = SyncFilter()
"""Everything is wanted."""


def parse_sync_filter(value: object) -> SyncFilter:
    """The filter of a /sync request or an uploaded one, from decoded JSON; null means absent.

    Raises `BadJson` for wrong types, `InvalidParam` for wrong values; unknown keys are ignored.
    """
    fields = _Fields.of(value, "the filter")
    room = fields.nested("room")
    return SyncFilter(
        event_fields=_event_fields(fields),
        event_format=_event_format(fields),
        presence=_event_filter(fields.nested("presence")),
        account_data=_event_filter(fields.nested("account_data")),
        room=RoomFilter(
            rooms=room.ids("rooms", "!"),
            not_rooms=room.ids("not_rooms", "!") or _NOTHING,
            include_leave=room.flag("include_leave") or False,
            account_data=_room_event_filter(room.nested("account_data")),
            ephemeral=_room_event_filter(room.nested("ephemeral")),
            state=_room_event_filter(room.nested("state")),
            timeline=_room_event_filter(room.nested("timeline")),
        ),
    )


def parse_room_event_filter(value: object) -> RoomEventFilter:
    """The filter of /messages, /context and /search, from decoded JSON; raises the same."""
    return _room_event_filter(_Fields.of(value, "the filter"))


def parse_event_fields(paths: list[str]) -> FieldTree:
    """The tree of the properties at dot-separated paths; a wanted whole includes its parts."""
    tree: FieldTree = {}
    for path in paths:
        *parents, last = parse_path(path)
        branch = tree
        for name in parents:
            inner = branch.setdefault(name, {})
            if inner is None:
                break
            branch = inner
        else:
            branch[last] = None
    return tree


def keep_fields(event: Mapping[str, Any], wanted: FieldTree) -> dict[str, Any]:
    """The event with the wanted properties only."""
    kept: dict[str, Any] = {}
    for name, inner in wanted.items():
        if name not in event:
            continue
        value = event[name]
        if inner is None:
            kept[name] = value
        elif isinstance(value, Mapping) and (part := keep_fields(value, inner)):
            kept[name] = part
    return kept


@dataclass(frozen=True, slots=True)
class _Fields:
    """An object of the request, read with checks; null counts as absent."""

    fields: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, value: object, where: str) -> "_Fields":
        if not isinstance(value, Mapping):
            raise BadJson(f"{where} must be an object")
        return cls(value, where)

    def nested(self, name: str) -> "_Fields":
        value = self.fields.get(name)
        return _Fields.of({} if value is None else value, name)

    def flag(self, name: str) -> bool | None:
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise BadJson(f"{name!r} of {self.where} must be a boolean")

    def strings(self, name: str) -> tuple[str, ...] | None:
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise BadJson(f"{name!r} of {self.where} must be a list of strings")
        if len(value) > MAX_ENTRIES:
            raise InvalidParam(f"{name!r} of {self.where} has more than {MAX_ENTRIES} entries")
        return tuple(dict.fromkeys(value))

    def ids(self, name: str, sigil: str) -> frozenset[str] | None:
        values = self.strings(name)
        if values is None:
            return None
        for value in values:
            if not value.startswith(sigil):
                raise InvalidParam(
                    f"{name!r} of {self.where} must hold IDs that begin with {sigil}"
                )
        return frozenset(values)

    def limit(self) -> int | None:
        """The limit; 0, which the specification does not know, is sent to get no events at all."""
        value = self.fields.get("limit")
        if value is None:
            return None
        if type(value) is not int:
            raise BadJson(f"'limit' of {self.where} must be an integer")
        if value < 0:
            raise InvalidParam(f"'limit' of {self.where} must not be negative")
        return min(value, MAX_LIMIT)


def _event_filter(fields: _Fields) -> EventFilter:
    return EventFilter(
        limit=fields.limit(),
        types=fields.strings("types"),
        not_types=fields.strings("not_types") or (),
        senders=fields.ids("senders", "@"),
        not_senders=fields.ids("not_senders", "@") or _NOTHING,
    )


def _room_event_filter(fields: _Fields) -> RoomEventFilter:
    related_by_rel_types = fields.strings("related_by_rel_types")
    rel_types = fields.strings("org.matrix.msc3874.rel_types")
    return RoomEventFilter(
        limit=fields.limit(),
        types=fields.strings("types"),
        not_types=fields.strings("not_types") or (),
        senders=fields.ids("senders", "@"),
        not_senders=fields.ids("not_senders", "@") or _NOTHING,
        rooms=fields.ids("rooms", "!"),
        not_rooms=fields.ids("not_rooms", "!") or _NOTHING,
        contains_url=fields.flag("contains_url"),
        lazy_load_members=fields.flag("lazy_load_members") or False,
        include_redundant_members=fields.flag("include_redundant_members") or False,
        unread_thread_notifications=fields.flag("unread_thread_notifications") or False,
        related_by_senders=fields.ids("related_by_senders", "@"),
        related_by_rel_types=(
            None if related_by_rel_types is None else frozenset(related_by_rel_types)
        ),
        rel_types=None if rel_types is None else frozenset(rel_types),
        not_rel_types=frozenset(fields.strings("org.matrix.msc3874.not_rel_types") or ()),
    )


def _event_fields(fields: _Fields) -> FieldTree | None:
    """The wanted fields; an empty list is taken for an absent one (more may be sent than asked)."""
    paths = fields.strings("event_fields")
    if not paths:
        return None
    if len(paths) > MAX_EVENT_FIELDS:
        raise InvalidParam(f"'event_fields' has more than {MAX_EVENT_FIELDS} entries")
    return parse_event_fields(list(paths))


def _event_format(fields: _Fields) -> EventFormat:
    value = fields.fields.get("event_format")
    if value is None:
        return EventFormat.CLIENT
    if value not in ("client", "federation"):
        raise InvalidParam("'event_format' must be client or federation")
    return EventFormat(value)
