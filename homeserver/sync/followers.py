"""The users whose clients follow the stream, with the rooms that they follow it for.

A follower is made at a user's first sync and kept while there is room. It knows the user's rooms,
so that finding out whom an event concerns, and what concerns a user, takes no query. Clients that
wait are woken through it: a waiting client is one future and nothing else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.protocol.identifiers import UserId
from homeserver.sync.room_order import RoomOrder
from storage.changes import (
    AccountDataSet,
    Change,
    DeviceListChanged,
    EventAdded,
    InviteChanged,
    Membership,
    PresenceSet,
    ReceiptMoved,
    StickyEventAdded,
    ThreadSubscriptionSet,
    ToDeviceAdded,
)
from storage.database import Database
from storage.stream import Stream

SELECT_ROOMS = """
    SELECT room_nid, membership, stream_position, event_nid, sender_nid
      FROM memberships
     WHERE user_nid = $1
"""

MAX_IDLE = 1_000
"""Followers without a waiting client that are kept."""


TURNS = 4
"""Turns of the event loop for which a commit's news is held back: the request that was committed is
answered meanwhile. A client that learns of its own event from /sync before its request is answered
has to recognise it; matrix-js-sdk then loses the first reply of a thread, and shows it as not
sent."""


@dataclass(frozen=True, slots=True)
class RoomMembership:
    """A user's present membership of a room, its event and that event's position."""

    membership: Membership
    position: int
    event_nid: int
    sender_nid: int


class Follower:
    """A user of ours; `rooms` are all rooms in which the user has a membership.

    `changed` is the last position at which something happened that concerns the user.
    """

    __slots__ = (
        "changed",
        "devices_changed",
        "membership_changed",
        "order",
        "rooms",
        "sticky_added",
        "threads_changed",
        "to_device_added",
        "typing_changed",
        "user_id",
        "user_nid",
        "waiters",
    )

    def __init__(self, user_nid: int, user_id: UserId, position: int) -> None:
        self.user_nid = user_nid
        self.user_id = user_id
        self.rooms: dict[int, RoomMembership] = {}
        self.changed = position
        self.membership_changed = 0
        """The position of the latest of the user's own membership events."""
        self.devices_changed = position
        """A position that is not before the latest at which somebody's devices may have changed for
        the user, or come into view, or out of it."""
        self.typing_changed = 0
        self.order: RoomOrder | None = None
        """The rooms by their activity, if a client of the user's wants them so."""
        self.to_device_added = position
        """A position that is not before the latest message for a device of the user."""
        self.threads_changed = position
        """A position that is not before the latest of the user's subscriptions to threads."""
        self.sticky_added = position
        """A position that is not before the latest sticky event in a room of the user's."""
        self.waiters: set[asyncio.Future[None]] = set()

    @property
    def joined(self) -> list[int]:
        """The rooms that the user is in."""
        return [n for n, own in self.rooms.items() if own.membership is Membership.JOIN]

    def is_joined(self, room_nid: int) -> bool:
        """Whether the user is in a room."""
        own = self.rooms.get(room_nid)
        return own is not None and own.membership is Membership.JOIN

    def wake(self) -> None:
        """Let the waiting clients look again."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout_s: float) -> bool:
        """Wait until something concerns the user; False when the time ran out first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, _expire, waiter)
        self.waiters.add(waiter)
        try:
            await waiter
            return True
        except TimeoutError:
            return False
        finally:
            timer.cancel()
            self.waiters.discard(waiter)


def concerns_devices(change: Change) -> bool:
    """Whether a change may change whose devices a user sees, or how."""
    if isinstance(change, EventAdded):
        return change.membership in (Membership.JOIN, Membership.LEAVE, Membership.BAN)
    return isinstance(change, DeviceListChanged | InviteChanged)


def after_answers(waiting: Iterable[Follower], turns: int) -> None:
    """Wake the clients of followers after so many turns of the event loop."""
    if turns:
        asyncio.get_running_loop().call_soon(after_answers, waiting, turns - 1)
        return
    for follower in waiting:
        follower.wake()


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class Followers:
    """All followers of this process, by user and by room."""

    def __init__(self, db: Database, stream: Stream) -> None:
        self._db = db
        self._stream = stream
        self._by_user: OrderedDict[int, Follower] = OrderedDict()
        self._by_room: dict[int, set[Follower]] = {}
        self._moves = 0
        """How often users of ours have come into rooms, left them or were invited. Only these make
        it necessary to read a user's rooms again that were being read meanwhile: waiting for a
        pause of the whole stream might take for ever."""

    async def get(self, user_nid: int, user_id: UserId) -> Follower:
        """The follower of a user, made if it has to be."""
        follower = self._by_user.get(user_nid)
        if follower is None:
            follower = await self._load(user_nid, user_id)
        self._by_user.move_to_end(user_nid)
        return follower

    def in_room(self, room_nid: int) -> Iterable[Follower]:
        """The followers that are joined to a room."""
        return self._by_room.get(room_nid, ())

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Note what happened and wake whom it concerns; a listener of the stream."""
        del own
        concerned: set[Follower] = set()
        for change in changes:
            for follower in self._concerned(change):
                follower.changed = change.position
                concerned.add(follower)
                if follower.order is not None:
                    follower.order.note(change)
                if isinstance(change, ToDeviceAdded):
                    follower.to_device_added = change.position
                elif isinstance(change, ThreadSubscriptionSet):
                    follower.threads_changed = change.position
                elif isinstance(change, StickyEventAdded):
                    follower.sticky_added = change.position
                elif concerns_devices(change):
                    follower.devices_changed = change.position
            if isinstance(change, InviteChanged):
                self._moves += 1
                self._drop(change.user_nid)
        waiting = [follower for follower in concerned if follower.waiters]
        if waiting:
            after_answers(waiting, TURNS)

    def typing_changed(self, room_nid: int, serial: int) -> None:
        """Somebody began or stopped typing; wake the room."""
        for follower in self.in_room(room_nid):
            follower.typing_changed = serial
            follower.wake()

    def _drop(self, user_nid: int) -> None:
        """Have the user's rooms loaded anew."""
        follower = self._by_user.pop(user_nid, None)
        if follower is not None:
            self._unlist(follower)

    def _concerned(self, change: Change) -> Iterable[Follower]:
        if isinstance(change, EventAdded):
            room_nid = change.event.room_nid
            before = set(self._by_room.get(room_nid, ()))
            if change.member_nid is not None and change.is_local_member:
                self._moves += 1
                member = self._by_user.get(change.member_nid)
                if member is not None and change.membership is not None:
                    self._set_membership(
                        member,
                        room_nid,
                        RoomMembership(
                            change.membership,
                            change.position,
                            change.event.event_nid,
                            change.event.sender_nid,
                        ),
                    )
                    before.add(member)
            return before
        if isinstance(change, StickyEventAdded):
            return self._by_room.get(change.room_nid, ())
        if isinstance(change, ReceiptMoved):
            if change.receipt_type == "m.read.private":
                return self._only(change.user_nid)
            return self._by_room.get(change.room_nid, ())
        if isinstance(
            change, AccountDataSet | InviteChanged | ThreadSubscriptionSet | ToDeviceAdded
        ):
            return self._only(change.user_nid)
        if isinstance(change, DeviceListChanged):
            return self._seeing_devices(change)
        if isinstance(change, PresenceSet):
            return self._sharing_rooms(change)
        return ()

    def _only(self, user_nid: int) -> Iterable[Follower]:
        follower = self._by_user.get(user_nid)
        return (follower,) if follower is not None else ()

    def _sharing_rooms(self, change: PresenceSet) -> Iterable[Follower]:
        subject = self._by_user.get(change.user_nid)
        if subject is None:
            return list(self._by_user.values())
        return {subject}.union(*(self._by_room.get(nid, ()) for nid in subject.joined))

    def _seeing_devices(self, change: DeviceListChanged) -> Iterable[Follower]:
        if change.viewer_nid is not None:
            return self._only(change.viewer_nid)
        own = set(self._only(change.user_nid))
        return own.union(*(self._by_room.get(nid, ()) for nid in change.room_nids))

    def _set_membership(self, follower: Follower, room_nid: int, own: RoomMembership) -> None:
        follower.rooms[room_nid] = own
        follower.membership_changed = max(follower.membership_changed, own.position)
        room = self._by_room.setdefault(room_nid, set())
        if own.membership is Membership.JOIN:
            room.add(follower)
        else:
            room.discard(follower)
            if not room:
                del self._by_room[room_nid]

    async def _load(self, user_nid: int, user_id: UserId) -> Follower:
        while True:
            moves = self._moves
            rows = await self._db.fetch(SELECT_ROOMS, user_nid)
            if user_nid in self._by_user:
                return self._by_user[user_nid]
            if self._moves == moves:
                break
        follower = Follower(user_nid, user_id, self._stream.position)
        for room_nid, membership, at, event_nid, sender_nid in rows:
            own = RoomMembership(Membership(membership), at, event_nid, sender_nid)
            self._set_membership(follower, room_nid, own)
        self._by_user[user_nid] = follower
        self._make_room()
        return follower

    def _make_room(self) -> None:
        excess = len(self._by_user) - MAX_IDLE
        if excess <= 0:
            return
        for follower in list(self._by_user.values())[:excess]:
            if not follower.waiters:
                del self._by_user[follower.user_nid]
                self._unlist(follower)

    def _unlist(self, follower: Follower) -> None:
        for room_nid in follower.joined:
            room = self._by_room.get(room_nid)
            if room is not None:
                room.discard(follower)
                if not room:
                    del self._by_room[room_nid]
