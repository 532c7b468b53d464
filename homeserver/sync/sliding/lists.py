"""Which rooms the lists of a request have.

The rooms of a user are those that they are in, are invited to, knock on, or were put out of. Each
list filters them; which of the filtered rooms are in its ranges depends on the order of activity.
What the filters let through is worked out anew only when something that they ask about changes.
Source: MSC4186, "Lists and subscriptions", `SlidingRoomFilter`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import RoomId
from homeserver.sync.followers import Follower, RoomMembership
from homeserver.sync.ports import IgnoredUsers, InvitesTaken
from homeserver.sync.room_order import RoomOrder
from homeserver.sync.sliding.direct_rooms import DirectRooms
from homeserver.sync.sliding.request import RoomConfig, RoomFilter, RoomList, SlidingRequest
from homeserver.sync.sliding.room_facts import RoomFacts, RoomFactsCache, facts_of
from homeserver.sync.stripped import read_stripped_states
from storage.account_data import account_data_of_type
from storage.cache import Cache
from storage.changes import Membership
from storage.database import Database
from storage.names import Names
from storage.spaces import child_links
from storage.visible_rooms import forgotten_among, left_from_inside

OUTSIDE = (Membership.LEAVE, Membership.BAN)
VIEW_COST = 500
ROOM_COST = 70


@dataclass(frozen=True, slots=True)
class ListView:
    """A list as it stands: the rooms that its filter lets through."""

    wanted: RoomList
    rooms: frozenset[int]

    @property
    def is_all_in_range(self) -> bool:
        """Whether the ranges have all rooms."""
        ranges = self.wanted.ranges
        return ranges is None or any(
            first == 0 and last >= len(self.rooms) - 1 for first, last in ranges
        )

    def in_range(self, order: RoomOrder) -> frozenset[int]:
        """The rooms in the list's ranges."""
        if self.is_all_in_range:
            return self.rooms
        ranges = self.wanted.ranges or ()
        most = max((last + 1 for _, last in ranges), default=0)
        filtered = (nid for nid in order.newest_first() if nid in self.rooms)
        top = list(islice(filtered, most))
        return frozenset(nid for first, last in ranges for nid in top[first : last + 1])


@dataclass(frozen=True, slots=True)
class Views:
    """The lists of a request as they stand, by key, and the subscribed rooms that there are.

    `listed` are all rooms that lists may have. Views are the same object while nothing has
    changed that they rest on.
    """

    lists: Mapping[str, ListView]
    subscribed: Mapping[int, str]
    listed: frozenset[int]
    direct: frozenset[str]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What lists rest on."""

    follower: Follower
    membership_changed: int
    preferences: int
    facts_serial: int
    lists: Mapping[str, RoomList]
    subscriptions: Mapping[str, RoomConfig]


class Lists:
    """Works lists out, and keeps them while they hold."""

    def __init__(
        self,
        db: Database,
        names: Names,
        facts: RoomFactsCache,
        direct: DirectRooms,
        ignored: IgnoredUsers,
        invites: InvitesTaken,
        max_bytes: int,
    ) -> None:
        self._db = db
        self._names = names
        self._facts = facts
        self._direct = direct
        self._ignored = ignored
        self._invites = invites
        self._kept: Cache[int, tuple[Grounds, Views]] = Cache(max_bytes)

    async def views(
        self, follower: Follower, order: RoomOrder, request: SlidingRequest, connection_nid: int
    ) -> Views:
        """The lists of a request; the same object as long as nothing has changed."""
        grounds = Grounds(
            follower,
            follower.membership_changed,
            order.preferences,
            self._facts.serial,
            request.lists,
            request.subscriptions,
        )
        kept = self._kept.get(connection_nid) if connection_nid else None
        if kept is not None and kept[0] == grounds:
            return kept[1]
        views = await self._work_out(follower, request)
        if connection_nid:
            size = sum(len(view.rooms) for view in views.lists.values()) + len(views.listed)
            self._kept.put(connection_nid, (grounds, views), VIEW_COST + ROOM_COST * size)
        return views

    async def _work_out(self, follower: Follower, request: SlidingRequest) -> Views:
        listed = await self._listed(follower)
        ids = {
            nid: room.room_id for nid, room in (await self._names.rooms.get_many(listed)).items()
        }
        asking = Asking(self._db, self._names, self._facts, follower, listed, ids)
        direct = await self._direct.of(follower.user_nid)
        filtered: dict[RoomFilter, frozenset[int]] = {}
        lists = {}
        for key, wanted in request.lists.items():
            if wanted.wanted not in filtered:
                filtered[wanted.wanted] = await asking.filter(wanted.wanted, direct)
            lists[key] = ListView(wanted, filtered[wanted.wanted])
        subscribed = await self._subscribed(follower, request, listed)
        return Views(lists, subscribed, frozenset(listed), direct)

    async def _listed(self, follower: Follower) -> dict[int, RoomMembership]:
        """The rooms that lists may have."""
        listed: dict[int, RoomMembership] = {}
        put_out: dict[int, RoomMembership] = {}
        invited: dict[int, RoomMembership] = {}
        for room_nid, own in follower.rooms.items():
            if own.membership in (Membership.JOIN, Membership.KNOCK):
                listed[room_nid] = own
            elif own.membership is Membership.INVITE:
                invited[room_nid] = own
            elif own.sender_nid != follower.user_nid:
                put_out[room_nid] = own
        listed |= await self._wanted_invites(follower, invited)
        if put_out:
            nids = await left_from_inside(self._db, [o.event_nid for o in put_out.values()])
            nids -= await forgotten_among(self._db, follower.user_nid, nids)
            listed |= {nid: own for nid, own in put_out.items() if nid in nids}
        return listed

    async def _wanted_invites(
        self, follower: Follower, invited: Mapping[int, RoomMembership]
    ) -> dict[int, RoomMembership]:
        """Invites but those by ignored users and those that the user does not take."""
        if not invited:
            return {}
        ignored = await self._ignored.ignored_by(follower.user_nid)
        inviters = await self._names.users.get_texts(own.sender_nid for own in invited.values())
        return {
            nid: own
            for nid, own in invited.items()
            if inviters[own.sender_nid] not in ignored
            and await self._invites.shows_invite(inviters[own.sender_nid], follower.user_nid)
        }

    async def _subscribed(
        self, follower: Follower, request: SlidingRequest, listed: Mapping[int, RoomMembership]
    ) -> dict[int, str]:
        """The rooms that are subscribed to, of those that lists may have or that the user left."""
        if not request.subscriptions:
            return {}
        found = await self._names.rooms.find_many(request.subscriptions)
        rooms = {room.room_nid: room_id for room_id, room in found.items()}
        left = [
            own.event_nid
            for nid in rooms.keys() - listed.keys()
            if (own := follower.rooms.get(nid)) and own.membership in OUTSIDE
        ]
        known = set(listed)
        if left:
            nids = await left_from_inside(self._db, left)
            known |= nids - await forgotten_among(self._db, follower.user_nid, nids)
        return {nid: room_id for nid, room_id in rooms.items() if nid in known}


class Asking:
    """One working out of lists: what filters ask about is read once, and only if one asks."""

    def __init__(
        self,
        db: Database,
        names: Names,
        facts: RoomFactsCache,
        follower: Follower,
        listed: Mapping[int, RoomMembership],
        ids: Mapping[int, RoomId],
    ) -> None:
        self._db = db
        self._names = names
        self._cache = facts
        self._follower = follower
        self._listed = listed
        self._ids = ids
        self._facts: dict[int, RoomFacts] | None = None
        self._tags: dict[int, frozenset[str]] | None = None

    async def filter(self, wanted: RoomFilter, direct: frozenset[str]) -> frozenset[int]:
        """The rooms that a filter lets through."""
        rooms: Iterable[int] = self._listed
        if wanted.is_invite is not None:
            is_invited = wanted.is_invite
            rooms = [nid for nid in rooms if self._is_invited(nid) == is_invited]
        if wanted.is_dm is not None:
            is_dm = wanted.is_dm
            rooms = [nid for nid in rooms if (self._ids[nid] in direct) == is_dm]
        if wanted.tags is not None or wanted.not_tags:
            rooms = await self._tagged(rooms, wanted)
        if wanted.spaces is not None:
            children = await self._children(wanted.spaces)
            rooms = [nid for nid in rooms if self._ids[nid] in children]
        if asks_facts(wanted):
            facts = await self._read_facts()
            rooms = [nid for nid in rooms if lets_through(wanted, facts.get(nid))]
        return frozenset(rooms)

    def _is_invited(self, room_nid: int) -> bool:
        return self._listed[room_nid].membership is Membership.INVITE

    async def _tagged(self, rooms: Iterable[int], wanted: RoomFilter) -> list[int]:
        if self._tags is None:
            stored = await account_data_of_type(self._db, self._follower.user_nid, "m.tag")
            self._tags = {nid: parse_tags(content) for nid, content in stored.items()}
        nothing: frozenset[str] = frozenset()
        tags = {nid: self._tags.get(nid, nothing) for nid in rooms}
        return [
            nid
            for nid in rooms
            if not (tags[nid] & wanted.not_tags)
            and (wanted.tags is None or tags[nid] & wanted.tags)
        ]

    async def _children(self, space_ids: frozenset[str]) -> set[str]:
        """The rooms that are directly in those of the spaces that the user is in."""
        spaces = await self._names.rooms.find_many(space_ids)
        joined = [s.room_nid for s in spaces.values() if self._follower.is_joined(s.room_nid)]
        links = await child_links(self._db, joined) if joined else {}
        return {
            link.room_id
            for children in links.values()
            for link in children
            if isinstance(link.fields["content"].get("via"), list)
        }

    async def _read_facts(self) -> dict[int, RoomFacts]:
        """The facts of rooms, where they are known at all."""
        if self._facts is not None:
            return self._facts
        outside = (Membership.INVITE, Membership.KNOCK)
        elsewhere = {nid: own for nid, own in self._listed.items() if own.membership in outside}
        self._facts = await self._cache.of(nid for nid in self._listed if nid not in elsewhere)
        stripped = await read_stripped_states(
            self._db, self._names, self._follower.user_nid, elsewhere
        )
        for nid, events in stripped.items():
            contents = {(e["type"], e["state_key"]): e["content"] for e in events}
            if len(contents) > 1:
                self._facts[nid] = facts_of(contents)
        return self._facts


def asks_facts(wanted: RoomFilter) -> bool:
    """Whether a filter asks what the state of rooms tells."""
    return (
        wanted.is_encrypted is not None
        or wanted.room_types is not None
        or bool(wanted.not_room_types)
        or wanted.name_like is not None
    )


def lets_through(wanted: RoomFilter, facts: RoomFacts | None) -> bool:
    """Whether a filter lets a room of these facts through; not if nothing is known of it."""
    if facts is None:
        return False
    if wanted.is_encrypted is not None and facts.is_encrypted != wanted.is_encrypted:
        return False
    if facts.room_type in wanted.not_room_types:
        return False
    if wanted.room_types is not None and facts.room_type not in wanted.room_types:
        return False
    like = wanted.name_like
    return like is None or like.casefold() in (facts.name or "").casefold()


def parse_tags(content: bytes) -> frozenset[str]:
    """The names of a room's tags."""
    tags = decode(content).get("tags")
    return frozenset(tags) if isinstance(tags, dict) else frozenset()
