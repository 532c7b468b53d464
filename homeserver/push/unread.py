"""What users with pushers have not read, over all of their rooms: the number on the app's icon.

Worked out once for a user, when there is first something to push, and kept up to date from then on
by the events and receipts that the pushing process hears of. So a push costs no count.
Source: push gateway API, `counts`; client-server API, "Threading" (receipts of threads).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.identifiers import UserId
from homeserver.push.counts import Notifying, UnreadCounts, is_read, notifying_of
from homeserver.push.decisions import Notified
from storage.cache import Cache
from storage.changes import ReceiptMoved
from storage.database import Database
from storage.stream import Stream

USER_COST = 600
ROOM_COST = 400
ITEM_COST = 120

SELECT_JOINED = """
    SELECT room_nid, stream_position FROM memberships WHERE user_nid = $1 AND membership = 1
"""


@dataclass(slots=True)
class Unread:
    """What a user has not read, by room, as of a position."""

    upto: int
    rooms: dict[int, list[Notifying]]

    @property
    def messages(self) -> int:
        """How many messages."""
        return sum(map(len, self.rooms.values()))

    @property
    def missed_calls(self) -> int:
        """How many calls."""
        return sum(item.is_call for items in self.rooms.values() for item in items)

    def has(self, room_nid: int, position: int) -> bool:
        """Whether the event at a position is unread."""
        return any(item.position == position for item in self.rooms.get(room_nid, ()))

    def after(self, position: int) -> list[int]:
        """The positions of what is unread after a position, in order."""
        items = (item.position for room in self.rooms.values() for item in room)
        return sorted(found for found in items if found > position)

    @property
    def cost(self) -> int:
        """About how many bytes it takes."""
        return USER_COST + ROOM_COST * len(self.rooms) + ITEM_COST * self.messages


class UnreadOfUsers:
    """The unread of users, those who were pushed to of late in memory."""

    def __init__(self, db: Database, stream: Stream, counts: UnreadCounts, max_bytes: int) -> None:
        self._db = db
        self._stream = stream
        self._counts = counts
        self._users: Cache[int, Unread] = Cache(max_bytes)
        self._reading: Counter[int] = Counter()
        self._overtaken: set[int] = set()
        """Users of whom something changed while it was read."""

    async def of(self, user_nid: int, user_id: UserId) -> Unread:
        """What a user has not read; it goes on changing."""
        unread = self._users.get(user_nid)
        return unread if unread is not None else await self._read(user_nid, user_id)

    def added(self, notified: Iterable[Notified]) -> None:
        """Events notify users."""
        for one in notified:
            unread = self._find(one.user_nid)
            # An invite to a room elsewhere is none of a room's messages.
            if unread is None or one.event.position is None or one.position <= unread.upto:
                continue
            items = unread.rooms.setdefault(one.event.room_nid, [])
            items.append(notifying_of(one.event, one.decision))
            self._users.put(one.user_nid, unread, unread.cost)

    def read(self, receipts: Iterable[ReceiptMoved]) -> None:
        """Users have read something."""
        for receipt in receipts:
            unread = self._find(receipt.user_nid)
            items = unread.rooms.get(receipt.room_nid) if unread is not None else None
            if unread is None or items is None:
                continue
            position = self._stream.window.find_position(receipt.room_nid, receipt.event_id)
            if position is None:
                self._users.discard(receipt.user_nid)
                continue
            left = [item for item in items if not is_read(item, receipt.thread_id, position)]
            if left:
                unread.rooms[receipt.room_nid] = left
            else:
                del unread.rooms[receipt.room_nid]

    def forget(self, user_nids: Iterable[int]) -> None:
        """What was worked out for users does not hold any more."""
        for user_nid in user_nids:
            self._find(user_nid)
            self._users.discard(user_nid)

    def forget_all(self) -> None:
        """Nothing holds any more."""
        self._overtaken.update(self._reading)
        self._users.clear()

    def _find(self, user_nid: int) -> Unread | None:
        """What is known of a user of whom something changes."""
        if user_nid in self._reading:
            self._overtaken.add(user_nid)
        return self._users.get(user_nid)

    async def _read(self, user_nid: int, user_id: UserId) -> Unread:
        self._reading[user_nid] += 1
        try:
            upto = self._stream.position
            rooms = dict(await self._db.fetch(SELECT_JOINED, user_nid))
            found = await self._counts.read_unread(user_nid, user_id, rooms, upto)
            unread = Unread(upto, {nid: items for nid, items in found.items() if items})
            if user_nid not in self._overtaken:
                self._users.put(user_nid, unread, unread.cost)
            return unread
        finally:
            self._reading[user_nid] -= 1
            if not self._reading[user_nid]:
                del self._reading[user_nid]
                self._overtaken.discard(user_nid)
