"""The first state of a new room, as pure functions of what its creator asks for.

Source: client-server API, `POST /createRoom`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.protocol.auth_events import CREATE, POWER_LEVELS
from federation.protocol.errors import InvalidParam, InvalidRoomState
from federation.protocol.identifiers import UserId
from federation.protocol.pdu import StateKey
from federation.protocol.power_levels import CREATOR_LEVEL, find_level
from federation.protocol.room_versions import RoomVersion

TOMBSTONE = "m.room.tombstone"
TOMBSTONE_LEVEL = 150
"""In rooms whose creators stand above all levels; nobody else is to replace the room unasked."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What `preset` stands for."""

    join_rule: str
    guest_access: str
    invite_level: int
    history_visibility: str = "shared"
    trusts_invitees: bool = False


PRESETS: Mapping[str, Preset] = {
    "private_chat": Preset("invite", "can_join", 0),
    "trusted_private_chat": Preset("invite", "can_join", 0, trusts_invitees=True),
    "public_chat": Preset("public", "forbidden", 50),
}


@dataclass(frozen=True, slots=True)
class StateEvent:
    """A state event that is still to be made."""

    type: str
    state_key: str
    content: Mapping[str, Any]

    @property
    def place(self) -> StateKey:
        """Where it will stand in the room state."""
        return (self.type, self.state_key)


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """What the creator of a room asks for; None and empty values stand for what is not asked."""

    preset: Preset
    published: bool = False
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Sequence[UserId] = ()
    is_direct: bool = False
    creation_content: Mapping[str, Any] = field(default_factory=dict)
    initial_state: Sequence[StateEvent] = ()
    power_levels: Mapping[str, Any] = field(default_factory=dict)
    open_to_calls: bool = False
    """Whether every member may take part in group calls, unless the creator says otherwise."""
    is_of_the_server: bool = False
    """Whether it is the server itself that speaks in the room."""

    @property
    def is_space(self) -> bool:
        """Whether it is a space, in which nobody talks."""
        return self.creation_content.get("type") == "m.space"


CALL_LEVELS: Mapping[str, int] = {"org.matrix.msc3401.call.member": 0}
"""Members tell by state events that they are in a group call. Element's clients ask for this when
they create a room; in rooms of other clients only moderators could call otherwise."""


def find_preset(name: str | None, *, published: bool) -> Preset:
    """The preset of a name; without one the visibility decides. Raises `InvalidParam`."""
    if name is None:
        name = "public_chat" if published else "private_chat"
    if name not in PRESETS:
        raise InvalidParam(f"There is no preset {name!r}")
    return PRESETS[name]


def create_content(
    request: RoomRequest, creator: UserId, version: RoomVersion
) -> Mapping[str, Any]:
    """The content of the `m.room.create` event."""
    content = {k: v for k, v in request.creation_content.items() if k != "creator"}
    content["room_version"] = version.id
    if version.creator_in_content:
        content["creator"] = creator
    if version.privileged_creators and request.preset.trusts_invitees and request.invite:
        asked = content.get("additional_creators", [])
        if not isinstance(asked, list):
            raise InvalidParam("'additional_creators' must be an array")
        content["additional_creators"] = [*asked, *(u for u in request.invite if u not in asked)]
    return content


def first_state(
    request: RoomRequest, creator: UserId, version: RoomVersion, alias: str | None
) -> list[StateEvent]:
    """The events after the creator's join and before the invites, in order.

    Raises `InvalidRoomState` for events that no initial state may hold.
    """
    given = {event.place for event in request.initial_state}
    preset, overriding = request.preset, overriding_events(request)
    chosen = [
        StateEvent("m.room.join_rules", "", {"join_rule": preset.join_rule}),
        StateEvent(
            "m.room.history_visibility", "", {"history_visibility": preset.history_visibility}
        ),
    ]
    # A room without the event is closed to guests.
    if preset.guest_access != "forbidden":
        chosen.append(StateEvent("m.room.guest_access", "", {"guest_access": preset.guest_access}))
    overridden = {event.place for event in overriding}
    events = [StateEvent(*POWER_LEVELS, power_levels(request, creator, version))]
    if alias is not None:
        events.append(StateEvent("m.room.canonical_alias", "", {"alias": alias}))
    events += [event for event in chosen if event.place not in given]
    for event in request.initial_state:
        if event.place == CREATE or event.type == "m.room.member":
            raise InvalidRoomState(f"The initial state may not hold {event.type}")
        if event.place not in overridden:
            events.append(event)
    return events + overriding


def overriding_events(request: RoomRequest) -> list[StateEvent]:
    """The events of the parameters that go before those of the initial state."""
    events = []
    if request.name is not None:
        events.append(StateEvent("m.room.name", "", {"name": request.name}))
    if request.topic is not None:
        events.append(StateEvent("m.room.topic", "", topic_content(request.topic)))
    return events


def topic_content(topic: str) -> dict[str, Any]:
    """The content of `m.room.topic` for a topic in plain text."""
    return {"topic": topic, "m.topic": {"m.text": [{"body": topic}]}}


def power_levels(request: RoomRequest, creator: UserId, version: RoomVersion) -> Mapping[str, Any]:
    """The content of the first `m.room.power_levels` event, with what overrides it."""
    users: dict[str, int] = {}
    if not version.privileged_creators:
        users[creator] = CREATOR_LEVEL
        if request.preset.trusts_invitees:
            users |= dict.fromkeys(request.invite, CREATOR_LEVEL)
    content: dict[str, Any] = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            TOMBSTONE: 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": request.preset.invite_level,
    }
    if version.privileged_creators:
        del content["events"][TOMBSTONE]
    if request.open_to_calls:
        content["events"] |= CALL_LEVELS
    content |= request.power_levels
    return with_guarded_tombstone(content) if version.privileged_creators else content


def with_guarded_tombstone(content: Mapping[str, Any]) -> dict[str, Any]:
    """Power levels that say what a tombstone takes, and more than other state.

    Source: client-server API, `POST /createRoom`, on room version 12.
    """
    events = content.get("events", {})
    if not isinstance(events, Mapping) or TOMBSTONE in events:
        return dict(content)
    state_default = find_level(content.get("state_default", 50), integers_only=True) or 0
    level = max(TOMBSTONE_LEVEL, state_default + 1)
    return {**content, "events": {**events, TOMBSTONE: level}}
