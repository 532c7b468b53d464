"""One response of sliding sync in the making: what was read of its rooms so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.rooms.viewer import Viewer
from homeserver.sync.sliding.connections import Members
from homeserver.sync.sliding.plan import Kind, Telling
from homeserver.sync.sliding.room_body import RoomBody
from homeserver.sync.sliding.room_states import StateNews
from homeserver.sync.sliding.sent import SentRoom
from homeserver.sync.timelines import Timeline
from storage.changes import EventAdded, StoredEvent


@dataclass(slots=True)
class Reading:
    """One response in the making."""

    viewer: Viewer
    tellings: Sequence[Telling]
    since: int | None
    """The position of the client's token; None for a new connection."""
    upto: int
    ignored: frozenset[str]
    direct: frozenset[str]
    known_members: Members
    ids: Mapping[int, str]
    live: dict[int, list[EventAdded]] = field(default_factory=dict)
    timelines: dict[int, Timeline] = field(default_factory=dict)
    states: dict[int, list[StoredEvent]] = field(default_factory=dict)
    """What is told of each room's state."""
    described: dict[int, list[StoredEvent]] = field(default_factory=dict)
    """The name and the avatar, of rooms that are told whole."""
    news: dict[int, StateNews] = field(default_factory=dict)
    members_told: Members = field(default_factory=dict)
    members_forgotten: set[int] = field(default_factory=set)

    def of_kind(self, *kinds: Kind) -> list[Telling]:
        """The rooms that are told in certain ways."""
        return [telling for telling in self.tellings if telling.kind in kinds]

    def is_limited(self, room_nid: int) -> bool:
        """Whether events are left out between what the client has and what it is shown."""
        timeline = self.timelines.get(room_nid)
        return timeline is not None and timeline.is_limited

    def events(self, room_nid: int) -> list[StoredEvent]:
        """The events of the room's timeline."""
        if room_nid in self.live:
            return [added.event for added in self.live[room_nid]]
        timeline = self.timelines.get(room_nid)
        return [item.event for item in timeline.events] if timeline is not None else []


@dataclass(frozen=True, slots=True)
class RoomsRead:
    """What is told of rooms, by ID, and what the client has of them then."""

    bodies: dict[str, RoomBody]
    sent: dict[int, SentRoom | None]
    timelines: Mapping[int, Sequence[str]]
    """The IDs of the events in the timelines."""
    members_told: Members
    members_forgotten: set[int]
