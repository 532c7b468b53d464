"""Whom pushes reach: the members of rooms who have pushers, without a query for each event.

The users who have pushers are a set of numbers in memory. It may hold a user too many, whose last
pusher has gone; that costs an evaluation and is put right at the next start.
"""

from collections.abc import Iterable, Sequence

from storage.cache import Cache
from storage.changes import Change, EventAdded
from storage.database import Database
from storage.pushers import members_with_pushers, users_with_pushers

ENTRY_COST = 150
COST_PER_MEMBER = 8


class Reach:
    """Knows who is reached; loaded by the process that pushes."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._users: set[int] = set()
        self._rooms: Cache[int, tuple[int, ...]] = Cache(max_bytes)
        self._changes_heard = 0

    async def load(self) -> None:
        """Find out who has pushers."""
        self._changes_heard += 1
        self._rooms.clear()
        self._users = await users_with_pushers(self._db)

    def reaches(self, user_nid: int | None) -> bool:
        """Whether a user may have pushers."""
        return user_nid in self._users

    def reaches_anybody(self) -> bool:
        """Whether anybody has pushers."""
        return bool(self._users)

    async def members(self, room_nids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """The members of each room who have pushers."""
        found: dict[int, tuple[int, ...]] = {}
        missing = []
        for room_nid in room_nids:
            members = self._rooms.get(room_nid)
            if members is None:
                missing.append(room_nid)
            else:
                found[room_nid] = members
        if missing:
            found |= await self._read(missing)
        return found

    def pusher_set(self, user_nid: int) -> None:
        """A user has got a pusher, or has switched one on."""
        if user_nid not in self._users:
            self._users.add(user_nid)
            self._changes_heard += 1
            self._rooms.clear()

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget the rooms into which or out of which somebody of ours has gone."""
        for change in changes:
            if isinstance(change, EventAdded) and change.is_local_member:
                self._changes_heard += 1
                self._rooms.discard(change.event.room_nid)

    async def _read(self, room_nids: list[int]) -> dict[int, tuple[int, ...]]:
        heard_before = self._changes_heard
        found = await members_with_pushers(self._db, room_nids)
        # What changed while it was read may be old already; it is read again next time.
        if self._changes_heard == heard_before:
            for room_nid, members in found.items():
                self._rooms.put(room_nid, members, ENTRY_COST + COST_PER_MEMBER * len(members))
        return found
