"""Whom a change concerns: the application services that look after the room or somebody in it.

A room concerns a service that looks after its ID, one of its aliases or a user of this server who
is in it; a member event also the service of the user whom it is about, and any event that of its
sender. Who is in a room is taken from the database as it was before the first change that is
judged, and moves on with the changes, so that what a service hears does not depend on when it
hears it.
Source: application service API, "Registration".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.appservices.namespaces import Namespaces
from storage.appservices import LocalMember, aliases_of_rooms, joined_at, local_memberships
from storage.cache import Cache
from storage.changes import (
    Change,
    DeviceListChanged,
    EventAdded,
    InviteChanged,
    Membership,
    PresenceSet,
    ReceiptMoved,
    Standing,
    ToDeviceAdded,
)
from storage.database import Database
from storage.names import Names
from storage.participants import joined_rooms_of
from storage.receipts import READ_PRIVATE

ROOM_COST = 400
USER_COST = 120
KEPT_USERS = 20
"""Users of a room who are remembered for each service: one is enough to know of its interest."""


@dataclass(slots=True)
class Room:
    """The users in a room whom services look after, each with these services.

    `is_partial` if there are more than are kept here.
    """

    users: dict[int, int] = field(default_factory=dict)
    is_partial: bool = False

    @property
    def mask(self) -> int:
        """The services that look after somebody in the room."""
        mask = 0
        for services in self.users.values():
            mask |= services
        return mask

    def add(self, user_nid: int, services: int) -> None:
        """Somebody is in the room."""
        if any(self.count(bit) < KEPT_USERS for bit in bits_of(services)):
            self.users[user_nid] = services
        else:
            self.is_partial = True

    def count(self, bit: int) -> int:
        """How many users are kept for a service."""
        return sum(known & bit != 0 for known in self.users.values())


def bits_of(mask: int) -> Iterator[int]:
    """The bits of a number."""
    while mask:
        yield mask & -mask
        mask &= mask - 1


Judged = tuple[Change, int]
"""A change, and the services that it concerns."""


class Interest:
    """Judges the changes of the stream, in their order."""

    def __init__(
        self, db: Database, names: Names, namespaces: Namespaces, services: int, max_bytes: int
    ) -> None:
        """`services` are those that are asked about."""
        self._db = db
        self._names = names
        self._namespaces = namespaces
        self._services = services
        asked = list(namespaces.among(services))
        self._ephemeral = namespaces.where(s for s in asked if s.is_told_ephemeral)
        self._device_news = namespaces.where(s for s in asked if s.receives_device_news)
        self._rooms: Cache[int, Room] = Cache(max_bytes)

    def clear(self) -> None:
        """Forget what was known: changes were left out."""
        self._rooms.clear()

    async def judge(self, changes: Sequence[Change], since: int) -> list[Judged]:
        """The changes that concern a service, with these services; they follow `since`."""
        presence = await self._rooms_of_present(changes)
        rooms = {nid for change in changes for nid in self._rooms_of(change)}
        rooms |= {nid for user_rooms in presence.values() for nid in user_rooms}
        constant = await self._constant(rooms)
        await self._load(rooms, since)
        judged = []
        for change in changes:
            mask = await self._of(change, constant, presence) & self._services
            if mask:
                judged.append((change, mask))
            if isinstance(change, EventAdded) and change.is_local_member:
                await self._move(change)
        return judged

    async def of_rooms(self, room_nids: Iterable[int], position: int) -> dict[int, int]:
        """The services that rooms concern; those that concern none are left out."""
        wanted = set(room_nids)
        constant = await self._constant(wanted)
        await self._load(wanted, position)
        found = {}
        for nid in wanted:
            mask = (constant.get(nid, 0) | await self._in_room(nid, position)) & self._services
            if mask:
                found[nid] = mask
        return found

    def _rooms_of(self, change: Change) -> Sequence[int]:
        """The rooms that have to be known to judge a change."""
        if isinstance(change, EventAdded):
            return (change.event.room_nid,)
        if isinstance(change, ReceiptMoved) and self._ephemeral:
            return (change.room_nid,)
        if isinstance(change, DeviceListChanged) and self._device_news:
            return change.room_nids
        return ()

    async def _of(
        self, change: Change, constant: Mapping[int, int], presence: Mapping[int, set[int]]
    ) -> int:
        async def all_of(room_nids: Iterable[int]) -> int:
            mask = 0
            for nid in room_nids:
                mask |= constant.get(nid, 0) | await self._in_room(nid, change.position - 1)
            return mask

        of_user = self._namespaces.of_user
        if isinstance(change, EventAdded):
            if change.event.standing != Standing.ACCEPTED:
                return 0
            mask = await all_of((change.event.room_nid,)) | of_user(change.event.sender)
            return mask | (of_user(str(change.event.state_key)) if change.member_nid else 0)
        if isinstance(change, InviteChanged):
            return of_user(await self._names.user_id(change.user_nid))
        if isinstance(change, ReceiptMoved) and self._ephemeral:
            if change.receipt_type == READ_PRIVATE:
                return self._ephemeral & of_user(change.user_id)
            return self._ephemeral & await all_of((change.room_nid,))
        if isinstance(change, PresenceSet) and self._ephemeral:
            seen = await all_of(presence.get(change.user_nid, ()))
            return self._ephemeral & (of_user(change.user_id) | seen)
        if isinstance(change, ToDeviceAdded) and self._ephemeral:
            return self._ephemeral & of_user(await self._names.user_id(change.user_nid))
        if isinstance(change, DeviceListChanged) and self._device_news and not change.viewer_nid:
            seen = await all_of(change.room_nids)
            return self._device_news & (of_user(change.user_id) | seen)
        return 0

    async def _rooms_of_present(self, changes: Sequence[Change]) -> dict[int, set[int]]:
        """The rooms of those whose presence has changed."""
        users = {change.user_nid for change in changes if isinstance(change, PresenceSet)}
        return await joined_rooms_of(self._db, users) if users and self._ephemeral else {}

    async def _constant(self, room_nids: set[int]) -> dict[int, int]:
        """The services that look after the rooms by their IDs and aliases."""
        found: dict[int, int] = {}
        if any(service.rooms for service in self._namespaces.services):
            for nid, room in (await self._names.rooms.get_many(room_nids)).items():
                found[nid] = self._namespaces.of_room(room.room_id)
        if self._namespaces.with_aliases & self._services and room_nids:
            for nid, aliases in (await aliases_of_rooms(self._db, room_nids)).items():
                for alias in aliases:
                    found[nid] = found.get(nid, 0) | self._namespaces.of_alias(alias)
        return found

    async def _in_room(self, room_nid: int, position: int) -> int:
        """The services that look after somebody in a room, loaded again if it was forgotten."""
        room = self._rooms.get(room_nid)
        if room is None:
            await self._load({room_nid}, position)
            room = self._rooms.get(room_nid) or Room()
        return room.mask

    async def _move(self, change: EventAdded) -> None:
        """Take in that a user of ours has come into a room or gone."""
        room_nid, user_nid = change.event.room_nid, change.member_nid or 0
        room = self._rooms.get(room_nid)
        services = self._namespaces.of_user(str(change.event.state_key)) & self._services
        if room is None or not services or change.event.standing != Standing.ACCEPTED:
            return
        if change.membership is Membership.JOIN:
            room.add(user_nid, services)
            self._keep(room_nid, room)
        elif room.users.pop(user_nid, 0) and room.is_partial:
            # Others who are not kept here may still be in it.
            self._rooms.discard(room_nid)
            await self._load({room_nid}, change.position)

    async def _load(self, room_nids: set[int], position: int) -> None:
        """Find out who is in those of the rooms that are not known, as they were at a position."""
        missing = [nid for nid in room_nids if self._rooms.get(nid) is None]
        if not missing:
            return
        members = [
            (member, services)
            for member in await local_memberships(self._db, missing)
            if (services := self._namespaces.of_user(member.user_id) & self._services)
        ]
        was_in = await self._was_in(position, [member for member, _ in members])
        rooms = {nid: Room() for nid in missing}
        for member, services in members:
            changed_later = member.since > position
            key = (member.room_nid, member.user_nid)
            if key in was_in if changed_later else member.is_joined:
                rooms[member.room_nid].add(member.user_nid, services)
        for nid, room in rooms.items():
            self._keep(nid, room)

    async def _was_in(self, position: int, members: Iterable[LocalMember]) -> set[tuple[int, int]]:
        """Those whose membership has changed since the position, and who were in the room then."""
        pairs = [(one.room_nid, one.user_nid) for one in members if one.since > position]
        return await joined_at(self._db, pairs, position) if pairs else set()

    def _keep(self, room_nid: int, room: Room) -> None:
        self._rooms.put(room_nid, room, ROOM_COST + USER_COST * len(room.users))
