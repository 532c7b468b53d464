"""Upgrading a room: a new one of another version takes the place of the old.

Both rooms change in one commit: there is never a tombstone without a new room, nor the reverse.
Source: client-server API, "Room upgrades".
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import CREATE, POWER_LEVELS
from federation.protocol.canonical_json import MAX_INTEGER
from federation.protocol.errors import AuthRuleFailed, Forbidden
from federation.protocol.identifiers import RoomId, UserId
from federation.protocol.pdu import StateKey
from federation.protocol.power_levels import (
    CREATOR_LEVEL,
    LEVEL_DEFAULTS,
    find_level,
    room_creators,
)
from federation.protocol.room_versions import RoomVersion
from homeserver.config.sections.rooms import Rooms as RoomSettings
from homeserver.rooms.aliases import CANONICAL_ALIAS, may_send_state
from homeserver.rooms.append import Append
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.presets import (
    PRESETS,
    TOMBSTONE,
    TOMBSTONE_LEVEL,
    RoomRequest,
    StateEvent,
    power_levels,
    with_guarded_tombstone,
)
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.successors import Successors
from storage.aliases import MoveAliases
from storage.committer import Write
from storage.current_state import current_state_events
from storage.database import Database
from storage.rooms import Unpublish, is_published

COPIED = (
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
)
"""State that the new room gets as it is, in this order."""

QUIET_LEVEL = 50
"""What sending and inviting takes at least in a room that was left behind."""

BODY = "This room has been replaced"

State = Mapping[StateKey, Mapping[str, Any]]
"""The contents of a room's state."""


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """Who upgrades a room to which version, and who else is to count as its creator."""

    user_id: UserId
    version: RoomVersion
    additional_creators: Sequence[UserId] = ()
    is_admin: bool = False

    @property
    def creators(self) -> tuple[UserId, ...]:
        """Those who stand above all levels of the new room, if its version knows such."""
        if not self.version.privileged_creators:
            return ()
        return (self.user_id, *self.additional_creators)


class Upgrades:
    """Upgrades rooms."""

    def __init__(
        self,
        db: Database,
        live: LiveRooms,
        append: Append,
        send: Send,
        creation: RoomCreation,
        successors: Successors,
        settings: RoomSettings,
    ) -> None:
        self._db = db
        self._live = live
        self._append = append
        self._send = send
        self._creation = creation
        self._successors = successors
        self._settings = settings

    async def upgrade(self, request: UpgradeRequest, room_id: RoomId) -> RoomId:
        """Replace a room; the ID of the new one.

        Raises `NotFound`, `Forbidden`, `InvalidRoomState`.
        """
        if self._settings.creation == "admins" and not request.is_admin:
            raise Forbidden("Only administrators may create rooms on this server")
        made: list[LiveRoom] = []

        async def attempt(old: LiveRoom) -> tuple[RoomId, Sequence[Write]]:
            self._drop(made)
            if not await may_send_state(self._live, old, request.user_id, TOMBSTONE):
                raise Forbidden("You may not upgrade this room")
            new, writes = await self._replace(old, request)
            made.append(new)
            return new.room_id, writes

        try:
            new_id = await self._send.in_room(room_id, attempt)
        except BaseException:
            self._drop(made)
            raise
        await self._successors.joined(request.user_id, new_id)
        return new_id

    def _drop(self, made: list[LiveRoom]) -> None:
        """Forget rooms that have not come to be."""
        while made:
            self._live.drop(made.pop())

    async def _replace(
        self, old: LiveRoom, request: UpgradeRequest
    ) -> tuple[LiveRoom, Sequence[Write]]:
        """The new room and the writes of both; hold the old room's lock."""
        state = await self._state(old)
        published = await is_published(self._db, old.room_nid)
        writes: list[Write] = []
        predecessor: dict[str, Any] = {"room_id": old.room_id}
        new_id = self._creation.new_room_id(request.version)
        if new_id is not None:
            predecessor["event_id"] = await self._bury(old, request.user_id, new_id, writes)
        content = new_create_content(state, request, predecessor)
        async with self._creation.stage(
            request.user_id, content, request.version, published=published, room_id=new_id
        ) as new:
            writes += new.writes
            events = new_state(state, old, request)
            writes += await self._creation.stage_events(
                new.live, request.user_id, events, new.created_ts
            )
            if new_id is None:
                await self._bury(old, request.user_id, new.room_id, writes)
            await self._quieten(old, request.user_id, state, writes)
            writes.append(MoveAliases(old.room_id, new.room_id))
            if published:
                writes.append(Unpublish(old.room_nid))
        return new.live, writes

    async def _state(self, old: LiveRoom) -> State:
        """The present state, with what is still on its way to the database."""
        events = await current_state_events(self._db, old.room_nid)
        stored = {(event.type, event.state_key or ""): event.content for event in events}
        ahead = {place: entry.pdu.content for place, entry in old.state.items() if entry}
        return stored | ahead

    async def _bury(
        self, old: LiveRoom, user_id: UserId, new_id: RoomId, writes: list[Write]
    ) -> str:
        """Put up the tombstone; its event ID."""
        content = {"body": BODY, "replacement_room": new_id}
        pdu, auth_nids = await self._send.make_signed(
            old, NewEvent(user_id, TOMBSTONE, content, "")
        )
        writes += await self._append.stage(old, pdu, auth_nids)
        return pdu.event_id

    async def _quieten(
        self, old: LiveRoom, user_id: UserId, state: State, writes: list[Write]
    ) -> None:
        """Let only moderators write and invite in the old room, and announce no alias of it.

        What the user may not change stays.
        """
        changes = []
        if POWER_LEVELS in state:
            changes.append(StateEvent(*POWER_LEVELS, quiet_levels(state[POWER_LEVELS])))
        if state.get(CANONICAL_ALIAS):
            changes.append(StateEvent(*CANONICAL_ALIAS, {}))
        for event in changes:
            new = NewEvent(user_id, event.type, event.content, event.state_key)
            try:
                pdu, auth_nids = await self._send.make_signed(old, new)
            except AuthRuleFailed:
                continue
            writes += await self._append.stage(old, pdu, auth_nids)


def new_create_content(
    state: State, request: UpgradeRequest, predecessor: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The content of the new room's create event: that of the old one but for what is its own."""
    own = ("room_version", "predecessor", "additional_creators", "creator")
    content = {key: value for key, value in state[CREATE].items() if key not in own}
    content["room_version"] = request.version.id
    content["predecessor"] = predecessor
    if request.version.creator_in_content:
        content["creator"] = request.user_id
    if request.version.privileged_creators and request.additional_creators:
        content["additional_creators"] = list(dict.fromkeys(request.additional_creators))
    return content


def new_state(state: State, old: LiveRoom, request: UpgradeRequest) -> list[StateEvent]:
    """The events after the upgrader's join, in order.

    An upgrader who ranks too low in the new room to set it up is raised until that is done.
    """
    levels = new_power_levels(state, old, request)
    first = raised_levels(levels, request)
    events = [StateEvent(*POWER_LEVELS, first)]
    for event_type in COPIED:
        content = state.get((event_type, ""))
        if content:
            events.append(StateEvent(event_type, "", adapted(event_type, content, request.version)))
    if state.get(CANONICAL_ALIAS):
        events.append(StateEvent(*CANONICAL_ALIAS, state[CANONICAL_ALIAS]))
    events += space_children(state)
    events += bans(state, {user for user in first.get("users", {}) if user != request.user_id})
    if first != levels:
        events.append(StateEvent(*POWER_LEVELS, levels))
    return events


def new_power_levels(state: State, old: LiveRoom, request: UpgradeRequest) -> dict[str, Any]:
    """The power levels that are to hold in the new room in the end."""
    version, known = request.version, state.get(POWER_LEVELS)
    if known is None:
        return dict(power_levels(RoomRequest(PRESETS["private_chat"]), request.user_id, version))
    content = with_integers(known)
    users = dict(content.get("users", {}))
    events = dict(content.get("events", {}))
    if version.privileged_creators:
        users = {user: level for user, level in users.items() if user not in request.creators}
        if not old.version.privileged_creators:
            events[TOMBSTONE] = max(events.get(TOMBSTONE, 0), TOMBSTONE_LEVEL)
        return with_guarded_tombstone({**content, "users": users, "events": events})
    create = old.state[CREATE]
    if old.version.privileged_creators and create is not None:
        users |= dict.fromkeys(
            room_creators(create.pdu), highest_level({**content, "users": users})
        )
    return {**content, "users": users, "events": events}


def with_integers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Power levels with all levels as integers, whatever the old room's version let them be."""
    integers: dict[str, Any] = dict(content)
    for name in LEVEL_DEFAULTS.keys() & content.keys():
        integers[name] = integer_level(content[name])
    for name in {"users", "events", "notifications"} & content.keys():
        levels = content[name] if isinstance(content[name], Mapping) else {}
        integers[name] = {key: integer_level(level) for key, level in levels.items()}
    return integers


def integer_level(value: object) -> int:
    """The level that a value stands for, within the range that newer versions have."""
    level = find_level(value, integers_only=False) or 0
    return max(-MAX_INTEGER, min(level, MAX_INTEGER))


def highest_level(content: Mapping[str, Any]) -> int:
    """The highest of all levels of `with_integers`, and no less than a creator's."""
    levels: list[int] = [content[name] for name in LEVEL_DEFAULTS.keys() & content.keys()]
    for name in ("users", "events", "notifications"):
        levels += content.get(name, {}).values()
    return max(CREATOR_LEVEL, *levels)


def raised_levels(content: dict[str, Any], request: UpgradeRequest) -> dict[str, Any]:
    """The power levels with which the upgrader may set everything up."""
    if request.version.privileged_creators:
        return content
    level = highest_level(content)
    return {**content, "users": {**content.get("users", {}), request.user_id: level}}


def adapted(event_type: str, content: Mapping[str, Any], version: RoomVersion) -> Mapping[str, Any]:
    """Copied state, with a join rule that the new version knows."""
    if event_type != "m.room.join_rules":
        return content
    rule = content.get("join_rule")
    if rule == "knock_restricted" and not version.knock_restricted_joins:
        rule = "restricted"
    if rule == "restricted" and not version.restricted_joins:
        rule = "invite"
    if rule == "knock" and not version.knocking:
        rule = "invite"
    return {**content, "join_rule": rule}


def space_children(state: State) -> list[StateEvent]:
    """What a space holds; a space without it would be none."""
    return [
        StateEvent(event_type, state_key, content)
        for (event_type, state_key), content in state.items()
        if event_type == "m.space.child" and content
    ]


def bans(state: State, ranked: Container[str]) -> list[StateEvent]:
    """The bans, but for users of rank: nobody may be banned by an equal."""
    return [
        StateEvent(event_type, user_id, content)
        for (event_type, user_id), content in state.items()
        if event_type == "m.room.member"
        and content.get("membership") == "ban"
        and user_id not in ranked
    ]


def quiet_levels(content: Mapping[str, Any]) -> dict[str, Any]:
    """Power levels with which only moderators write and invite."""
    least = max(QUIET_LEVEL, integer_level(content.get("users_default")) + 1)
    quiet = dict(content)
    for name in ("events_default", "invite"):
        quiet[name] = max(integer_level(content.get(name)), least)
    return quiet
