"""Rooms of PDUs without hashes or signatures, naming only what matters."""

import json
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from federation.protocol.auth_events import auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.identifiers import EventId, RoomId, UserId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import get_room_version
from federation.protocol.state_resolution.conflicted import (
    find_auth_difference,
    find_conflicted_subgraph,
    split_conflicted,
)
from federation.protocol.state_resolution.resolve import resolve, resolve_among

ALICE = "@alice:hub.example"
BOB = "@bob:hub.example"
CAROL = "@carol:leaf.example"
DAVE = "@dave:leaf.example"


class Room:
    """One branch of a room: its state, and all events of the room, which branches share.

    A new room has its create event and nothing else; `furnished` adds the usual rest.
    """

    def __init__(
        self,
        version: str = "12",
        *,
        creator: str = ALICE,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        self.version = get_room_version(version)
        self.room_id = RoomId("!room:hub.example")
        self.events: dict[EventId, Pdu] = {}
        self.state: dict[StateKey, Pdu] = {}
        self.heads: tuple[EventId, ...] = ()
        self.numbers = count(1)
        create_id = EventId("$create:hub.example" if version in ("1", "2") else "$create")
        if self.version.create_event_is_room_id:
            self.room_id = RoomId("!create")
        named = {"creator": creator} if self.version.creator_in_content else {}
        create_content = {"room_version": version, **named, **(content or {})}
        self.create = self.send("m.room.create", creator, create_content, "", event_id=create_id)

    @classmethod
    def furnished(
        cls,
        version: str = "12",
        *,
        users: Mapping[str, int] | None = None,
        join_rule: str = "public",
        members: Iterable[str] = (BOB, CAROL),
    ) -> "Room":
        """A room by Alice (level 100 before version 12) that the members have joined."""
        room = cls(version)
        room.member(ALICE, "join")
        founder = {} if room.version.privileged_creators else {ALICE: 100}
        room.power_levels({"users": founder | dict(users or {})})
        room.join_rule("public")
        for user in members:
            room.member(user, "join")
        if join_rule != "public":
            room.join_rule(join_rule)
        return room

    def fork(self) -> "Room":
        """Another branch from here."""
        other = object.__new__(Room)
        other.__dict__ = self.__dict__ | {"state": dict(self.state)}
        return other

    def build(
        self,
        event_type: str,
        sender: str,
        content: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        *,
        event_id: str | None = None,
        room_id: str | None = None,
        prev_events: Iterable[str] | None = None,
        auth_events: Iterable[str] | None = None,
        redacts: str | None = None,
        origin_server_ts: int | None = None,
        depth: int | None = None,
    ) -> Pdu:
        """An event on this branch, with the auth events that the branch's state yields."""
        number = next(self.numbers)
        content = dict(content or {})
        suffix = ":hub.example" if self.version.id in ("1", "2") else ""
        if auth_events is None:
            places = auth_event_places(event_type, state_key, sender, content, self.version)
            auth_events = [self.state[p].event_id for p in places if p in self.state]
        encoded: dict[str, Any] = {"type": event_type, "sender": sender, "content": content}
        if not (event_type == "m.room.create" and self.version.create_event_is_room_id):
            encoded["room_id"] = self.room_id
        return Pdu(
            event_id=EventId(event_id or f"${number:06}{suffix}"),
            room_version=self.version,
            room_id=RoomId(room_id or self.room_id),
            type=event_type,
            sender=UserId(sender),
            state_key=state_key,
            content=content,
            depth=number if depth is None else depth,
            origin_server_ts=number if origin_server_ts is None else origin_server_ts,
            prev_events=tuple(map(EventId, self.heads if prev_events is None else prev_events)),
            auth_events=tuple(map(EventId, auth_events)),
            redacts=None if redacts is None else EventId(redacts),
            encoded=json.dumps(encoded).encode(),
        )

    def send(
        self,
        event_type: str,
        sender: str,
        content: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        **fields: Any,
    ) -> Pdu:
        """Build an event and let it into this branch without asking the rules."""
        event = self.build(event_type, sender, content, state_key, **fields)
        self.events[event.event_id] = event
        self.heads = (event.event_id,)
        if event.is_state:
            self.state[event.state_place] = event
        return event

    def member(self, target: str, membership: str, *, by: str | None = None, **content: Any) -> Pdu:
        """Send a membership, of oneself unless `by` says otherwise."""
        return self.send(
            "m.room.member", by or target, {"membership": membership, **content}, target
        )

    def power_levels(self, content: Mapping[str, Any], *, by: str = ALICE, **fields: Any) -> Pdu:
        """Send power levels."""
        return self.send("m.room.power_levels", by, content, "", **fields)

    def join_rule(self, rule: str, *, by: str = ALICE) -> Pdu:
        """Send a join rule."""
        return self.send("m.room.join_rules", by, {"join_rule": rule}, "")

    def topic(self, topic: str, *, by: str = ALICE, **fields: Any) -> Pdu:
        """Send a topic."""
        return self.send("m.room.topic", by, {"topic": topic}, "", **fields)

    @property
    def auth_state(self) -> AuthState:
        """The branch's state as the rules see it."""
        return AuthState(self.state, create=self.create)

    @property
    def state_ids(self) -> dict[StateKey, EventId]:
        """The branch's state by event IDs."""
        return {place: event.event_id for place, event in self.state.items()}

    def verdict(self, event: Pdu) -> str | None:
        """The rule that the event breaks in this branch's state, if any."""
        try:
            check_auth(event, self.auth_state)
        except AuthRuleFailed as failure:
            return failure.rule
        return None

    def member_verdict(
        self, target: str, membership: str, *, by: str | None = None, **content: Any
    ) -> str | None:
        """The rule that a membership would break."""
        content = {"membership": membership, **content}
        return self.verdict(self.build("m.room.member", by or target, content, target))


def resolve_branches(*branches: Room) -> dict[StateKey, EventId]:
    """The state after branches of one room are merged."""
    return resolve_states(branches[0], [branch.state_ids for branch in branches])


def resolve_states(
    room: Room, states: list[dict[StateKey, EventId]], rejected: Iterable[EventId] = ()
) -> dict[StateKey, EventId]:
    """The resolution of states of a room, with all the events at hand."""
    edges = {event.event_id: event.auth_events for event in room.events.values()}
    difference = find_auth_difference([state.values() for state in states], edges)
    conflicted = split_conflicted(states).conflicted_events
    subgraph = find_conflicted_subgraph(conflicted, edges)
    resolution = resolve(room.version, states, difference, subgraph)
    return resolve_among(room.events, resolution, set(rejected))
