"""Rules for `m.room.power_levels`: its format, and that nobody hands out more than they have."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from federation.protocol.auth_events import POWER_LEVELS
from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.identifiers import is_valid_historical_user_id
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import LEVEL_DEFAULTS, Level, find_level, room_creators

_NOTHING: Mapping[str, Any] = {}


def check_power_levels(event: Pdu, state: AuthState) -> None:
    """Authorise setting the power levels.

    Source: room version 12, authorisation rule 10; room version 1, authorisation rule 10.
    Raises `AuthRuleFailed`.
    """
    version, content = event.room_version, event.content
    if version.integer_power_levels:
        check_integers(content)
    else:
        check_finite(content)
    check_users(content, integers_only=version.integer_power_levels)
    if version.privileged_creators:
        named = room_creators(state.create) & content.get("users", _NOTHING).keys()
        require(not named, "power_levels.creators", "Creators have no place among the users")
    current = state.find(*POWER_LEVELS)
    if current is not None:
        check_changes(event, current, state.power.of(event.sender))


def check_integers(content: Mapping[str, Any]) -> None:
    """Raise unless the levels other than those of users are integers (from version 10 on)."""
    for name in LEVEL_DEFAULTS.keys() & content.keys():
        integer = type(content[name]) is int
        require(integer, "power_levels.format", f"{name} is not an integer")
    for name in {"events", "notifications"} & content.keys():
        levels = content[name]
        integers = isinstance(levels, Mapping) and all(type(v) is int for v in levels.values())
        require(integers, "power_levels.format", f"{name} is not an object of integers")


def check_finite(content: Mapping[str, Any]) -> None:
    """Raise if a level is a float beyond a double's range (before version 6 floats are levels)."""
    objects = [v for v in (content.get("events"), content.get("notifications")) if v]
    entries = [v for o in objects if isinstance(o, Mapping) for v in o.values()]
    for value in [*(content.get(name) for name in LEVEL_DEFAULTS), *entries]:
        finite = not isinstance(value, float) or math.isfinite(value)
        require(finite, "power_levels.format", "A level is out of range")


def check_users(content: Mapping[str, Any], *, integers_only: bool) -> None:
    """Raise unless `users`, if there, gives user IDs levels."""
    users = content.get("users", _NOTHING)
    if not isinstance(users, Mapping):
        raise AuthRuleFailed("power_levels.users", "users is not an object")
    for user_id, value in users.items():
        level = find_level(value, integers_only=integers_only)
        require(level is not None, "power_levels.users", f"{user_id!r} has no proper level")
        require(
            is_valid_historical_user_id(user_id),
            "power_levels.users",
            f"{user_id!r} is not a user ID",
        )


def check_changes(event: Pdu, current: Pdu, sender_level: Level) -> None:
    """Raise if the sender takes away or hands out what is out of their reach.

    Source: room version 12, authorisation rules 10.6 to 10.10.
    """
    old, new, version = current.content, event.content, event.room_version
    integers_only = version.integer_power_levels
    objects = ["events", "notifications"] if version.limit_notification_levels else ["events"]
    altered = altered_levels(old, new, LEVEL_DEFAULTS.keys(), integers_only=integers_only)
    for name in objects:
        altered += altered_entries(old, new, name, integers_only=integers_only)
    for name, former, latter in altered:
        require(
            former is None or former <= sender_level,
            "power_levels.current",
            f"{name} is out of reach",
        )
        require(
            latter is None or latter <= sender_level, "power_levels.new", f"{name} is out of reach"
        )
    for user_id, former, latter in altered_entries(old, new, "users", integers_only=integers_only):
        ranks_below = former is None or former < sender_level or user_id == event.sender
        require(ranks_below, "power_levels.rank", f"{user_id} ranks as high as the sender")
        require(
            latter is None or latter <= sender_level,
            "power_levels.new",
            f"{user_id} would rise above",
        )


Altered = list[tuple[str, int | None, int | None]]
"""Names with their former and new levels.

None stands for absence: what holds by default then is not compared. The specification says it only
of the entries of objects; servers agree on reading the top-level properties alike.
"""


def altered_entries(
    old: Mapping[str, Any], new: Mapping[str, Any], name: str, *, integers_only: bool
) -> Altered:
    """The alterations within one object of levels."""
    former, latter = old.get(name), new.get(name)
    if former == latter:
        return []
    former = former if isinstance(former, Mapping) else _NOTHING
    latter = latter if isinstance(latter, Mapping) else _NOTHING
    names = former.keys() | latter.keys()
    return altered_levels(former, latter, names, integers_only=integers_only)


def altered_levels(
    old: Mapping[str, Any], new: Mapping[str, Any], names: Iterable[str], *, integers_only: bool
) -> Altered:
    """The named levels that were added, changed or removed; raises if a new one is none."""
    altered: Altered = []
    for name in names:
        former, latter = old.get(name), new.get(name)
        if former == latter:
            continue
        old_level = find_level(former, integers_only=integers_only)
        new_level = find_level(latter, integers_only=integers_only)
        readable = latter is None or new_level is not None
        require(readable, "power_levels.format", f"{name} is not a level")
        if old_level != new_level:
            altered.append((name, old_level, new_level))
    return altered
