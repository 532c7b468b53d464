"""The event as it was signed, with typed views of the fields that the rules read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.identifiers import EventId, RoomId, UserId
from federation.protocol.room_versions import RoomVersion

StateKey = tuple[str, str]
"""An event type and a state key: the place of an event in the state of a room."""


@dataclass(frozen=True, slots=True, eq=False)
class Pdu:
    """A persistent data unit: an event of a room.

    `encoded` is the canonical JSON with `hashes` and `signatures` and without `unsigned`; it is
    what is stored and sent to other servers. The other fields are views of it. `prev_events` and
    `auth_events` are IDs also in room versions 1 and 2. In room version 12 the create event has no
    `room_id` in its JSON; here it has the one derived from its ID. `redacts` is taken from where
    the room version keeps it, and is None for everything but redactions.
    """

    event_id: EventId
    room_version: RoomVersion
    room_id: RoomId
    type: str
    sender: UserId
    state_key: str | None
    content: Mapping[str, Any]
    depth: int
    origin_server_ts: int
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    redacts: EventId | None
    encoded: bytes

    @property
    def is_state(self) -> bool:
        """Whether the event takes a place in the room state."""
        return self.state_key is not None

    @property
    def state_place(self) -> StateKey:
        """`(type, state_key)` of a state event; raises ValueError for any other."""
        if self.state_key is None:
            raise ValueError(f"{self.event_id} is not a state event")
        return (self.type, self.state_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pdu) and self.event_id == other.event_id

    def __hash__(self) -> int:
        return hash(self.event_id)
