"""What is to be told of which room: decided before anything of the rooms is read.

A room that is wanted and that the client has is looked at only if something happened in it, or if
the client wants other things than before. Source: MSC4186, "Room results", "Changing room configs".
"""

from dataclasses import dataclass
from enum import Enum, auto

from federation.protocol.auth_events import member_place
from homeserver.sync.followers import Follower, RoomMembership
from homeserver.sync.room_order import RoomOrder
from homeserver.sync.sliding.interest import Interest
from homeserver.sync.sliding.pos import Pos
from homeserver.sync.sliding.request import RoomConfig
from homeserver.sync.sliding.required_state import RequiredState
from homeserver.sync.sliding.sent import LIVE, Sent, SentRoom
from storage.changes import Membership
from storage.database import Database
from storage.names import Names
from storage.visible_rooms import stayed_inside

OUTSIDE = (Membership.LEAVE, Membership.BAN)
STRIPPED = (Membership.INVITE, Membership.KNOCK)


class Kind(Enum):
    """How a room is told."""

    WHOLE = auto()
    """All that is wanted of it; the client has nothing, or is to forget what it has."""
    NEWS = auto()
    """What has happened since the client last heard of it."""
    STRIPPED = auto()
    """An invite or a knock, with the stripped state."""
    FAREWELL = auto()
    """That an invite or a knock is over."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A room that is to be told; `since` is where what the client has ends."""

    room_nid: int
    own: RoomMembership
    kind: Kind
    config: RoomConfig
    since: int
    sent: SentRoom | None
    was_read: bool = False
    """Whether the user has read on, so that the counts of what is unread are other ones."""

    @property
    def is_joined(self) -> bool:
        """Whether the user is in the room."""
        return self.own.membership is Membership.JOIN

    @property
    def expands_timeline(self) -> bool:
        """Whether the client wants more of the timeline than it has."""
        return (
            self.kind is Kind.NEWS
            and self.sent is not None
            and self.config.timeline_limit > self.sent.timeline_limit
        )

    @property
    def shows_from_end(self) -> bool:
        """Whether the timeline is told from the end of the room's history, whatever is known."""
        return self.kind is Kind.WHOLE or self.expands_timeline

    @property
    def former_state(self) -> RequiredState | None:
        """The state that was wanted so far, if it does not cover what is wanted now."""
        if self.kind is not Kind.NEWS or self.sent is None:
            return None
        return None if self.sent.required.covers(self.config.required) else self.sent.required

    def end(self, upto: int) -> int:
        """The position up to which the user may hear of the room."""
        return min(self.own.position, upto) if self.own.membership in OUTSIDE else upto


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be told; `missed` are rooms in which something happened that is not wanted."""

    tellings: list[Telling]
    missed: set[int]


@dataclass(frozen=True, slots=True)
class Situation:
    """A request, and what its client has."""

    follower: Follower
    order: RoomOrder
    interest: Interest
    sent: Sent
    pos: Pos | None

    @property
    def since(self) -> int:
        """The position that the client has; 0 for a new connection."""
        return self.pos.position if self.pos is not None else 0


class Planner:
    """Makes plans."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def plan(self, situation: Situation, *, only_changed: bool, upto: int) -> Plan:
        """What is to be told; of rooms that have changed only, if the rest is known to be told."""
        follower, sent, since = situation.follower, situation.sent, situation.since
        changed = situation.order.changed_since(since) if situation.pos is not None else set()
        wanted = changed if only_changed else changed | situation.interest.rooms()
        tellings: list[Telling] = []
        missed: set[int] = set()
        for room_nid in wanted:
            own = follower.rooms.get(room_nid)
            if own is None:
                continue
            if own.position > upto:
                # This is for the next answer, with whatever came before it.
                missed.add(room_nid)
                continue
            telling = self._consider(situation, room_nid, own)
            if telling is not None:
                tellings.append(telling)
            elif room_nid in changed and situation.interest.config_of(room_nid) is None:
                missed.add(room_nid)
        tellings = await self._look_at_memberships(follower, tellings)
        known = {nid for nid in missed if nid in sent.rooms and sent.rooms[nid].position == LIVE}
        return Plan(tellings, known)

    def _consider(self, situation: Situation, room_nid: int, own: RoomMembership) -> Telling | None:
        sent = situation.sent.rooms.get(room_nid)
        config = situation.interest.config_of(room_nid)
        if sent is None:
            if config is None:
                return None
            kind = Kind.STRIPPED if own.membership in STRIPPED else Kind.WHOLE
            return Telling(room_nid, own, kind, config, 0, None)
        since = sent.reached(situation.since)
        is_over = own.membership in OUTSIDE and own.position > since
        if config is None and is_over:
            # Whoever has a room hears that it is over, though it is in no list any more.
            config = RoomConfig(min(sent.timeline_limit, 1), sent.required)
        if config is None:
            return None
        if own.membership in STRIPPED:
            is_new = own.position > since
            return Telling(room_nid, own, Kind.STRIPPED, config, since, sent) if is_new else None
        order, is_joined = situation.order, own.membership is Membership.JOIN
        was_read = is_joined and order.reads.get(room_nid, 0) > since
        telling = Telling(room_nid, own, Kind.NEWS, config, since, sent, was_read)
        has_events = is_joined and order.events.get(room_nid, 0) > since
        has_news = is_over or has_events or was_read
        asks_more = telling.expands_timeline or telling.former_state is not None
        return telling if has_news or asks_more else None

    async def _look_at_memberships(
        self, follower: Follower, tellings: list[Telling]
    ) -> list[Telling]:
        """Tell rooms whole, or that they are over, to whom was not in them before."""
        moved = [t for t in tellings if t.kind is Kind.NEWS and t.own.position > t.since]
        if not moved:
            return tellings
        place = await self._names.places.get_nid(member_place(follower.user_id))
        # Whoever leaves was in the room until then.
        departures = [t.own.event_nid for t in moved if not t.is_joined]
        since = {t.room_nid: t.since for t in moved}
        stayed = await stayed_inside(self._db, place, since, departures)
        return [
            self._anew(telling)
            if telling.room_nid in since and telling.room_nid not in stayed
            else telling
            for telling in tellings
        ]

    def _anew(self, telling: Telling) -> Telling:
        kind = Kind.WHOLE if telling.is_joined else Kind.FAREWELL
        return Telling(
            telling.room_nid, telling.own, kind, telling.config, telling.since, telling.sent
        )
