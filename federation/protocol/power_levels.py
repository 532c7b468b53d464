"""Power levels: what an `m.room.power_levels` event, or its absence, says of users and actions."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from federation.protocol.pdu import Pdu

Level = float
"""An integer, or `INFINITE`."""

INFINITE: Final = math.inf
"""The level of a creator where the room version places creators above everybody (version 12)."""

LEVEL_DEFAULTS: Final[Mapping[str, int]] = {
    "ban": 50,
    "kick": 50,
    "redact": 50,
    "invite": 0,
    "events_default": 0,
    "state_default": 50,
    "users_default": 0,
}
"""The top-level levels and what holds where one of them, or the whole event, is absent."""

CREATOR_LEVEL: Final = 100
"""The creator's level in a room without a power levels event (until version 11)."""

NOTIFICATION_LEVEL: Final = 50
"""The level needed for a notification that `notifications` does not name."""

_INTEGER_STRING = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")
_NOTHING: Mapping[str, Any] = {}


def find_level(value: object, *, integers_only: bool) -> int | None:
    """The level that a value of a power levels event stands for, or None if it stands for none.

    Rooms before version 10 also hold levels as strings and, before version 6, as floats.

    Source: room version 1, "`m.room.power_levels` events accept values as strings", "… as floats".
    """
    if type(value) is int:
        return value
    if integers_only:
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    if isinstance(value, str) and _INTEGER_STRING.fullmatch(value):
        return int(value)
    return None


def room_creators(create: Pdu) -> frozenset[str]:
    """The user IDs of those who count as the creators of the room.

    Source: room versions 12, "Authorisation rules", and 11, "Remove the `creator` property".
    """
    version = create.room_version
    if version.creator_in_content:
        creator = create.content.get("creator")
        return frozenset({creator}) if isinstance(creator, str) else frozenset()
    if not version.privileged_creators:
        return frozenset({create.sender})
    additional = create.content.get("additional_creators")
    if not isinstance(additional, list):
        return frozenset({create.sender})
    return frozenset({create.sender, *(user for user in additional if isinstance(user, str))})


class PowerLevels:
    """The power levels in force, given the content of the power levels event and the create event.

    It reads the content as it stands: a level that the room version cannot read counts as absent.
    Make one and keep it for as long as the power levels event stays.

    Source: client-server API, `m.room.power_levels`; server-server API, "Definitions".
    """

    __slots__ = (
        "_above_all",
        "_events",
        "_integers_only",
        "_notifications",
        "_users",
        "ban",
        "events_default",
        "invite",
        "kick",
        "redact",
        "state_default",
        "users_default",
    )

    def __init__(self, content: Mapping[str, Any] | None, create: Pdu) -> None:
        version = create.room_version
        self._integers_only = version.integer_power_levels
        self._above_all = room_creators(create) if version.privileged_creators else frozenset()
        if content is None:
            founders = () if version.privileged_creators else room_creators(create)
            content = {"users": dict.fromkeys(founders, CREATOR_LEVEL)}
        self._users = _object(content, "users")
        self._events = _object(content, "events")
        self._notifications = _object(content, "notifications")
        self.ban = self._top_level(content, "ban")
        self.kick = self._top_level(content, "kick")
        self.redact = self._top_level(content, "redact")
        self.invite = self._top_level(content, "invite")
        self.events_default = self._top_level(content, "events_default")
        self.state_default = self._top_level(content, "state_default")
        self.users_default = self._top_level(content, "users_default")

    def of(self, user_id: str) -> Level:
        """The user's level."""
        if user_id in self._above_all:
            return INFINITE
        return self._entry(self._users, user_id, self.users_default)

    def required_for(self, event_type: str, *, is_state: bool) -> int:
        """The level needed to send an event of a type.

        Membership events and third-party invites are not subject to it.
        """
        default = self.state_default if is_state else self.events_default
        return self._entry(self._events, event_type, default)

    def notification(self, key: str) -> int:
        """The level needed to cause a notification, such as `room` for `@room`."""
        return self._entry(self._notifications, key, NOTIFICATION_LEVEL)

    def _top_level(self, content: Mapping[str, Any], name: str) -> int:
        return self._entry(content, name, LEVEL_DEFAULTS[name])

    def _entry(self, levels: Mapping[str, Any], key: str, default: int) -> int:
        value = levels.get(key)
        if type(value) is int:
            return value
        if value is None:
            return default
        level = find_level(value, integers_only=self._integers_only)
        return default if level is None else level


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, Mapping) else _NOTHING
