"""Who is typing, in memory only: after a restart nobody is.

The rooms whose list changed are numbered by a serial of their own, which goes into sync tokens
next to the stream position and means something to this process only.
Source: client-server API, "Typing Notifications".
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from storage.changes import Change, EventAdded, Membership

MAX_TIMEOUT_MS = 120_000
DEFAULT_TIMEOUT_MS = 30_000
REMOTE_TIMEOUT_MS = 60_000
"""Other servers tell again every so often that somebody types; after so long without it is over."""

GONE = frozenset({Membership.LEAVE, Membership.BAN})

Listener = Callable[[int, str, bool], None]
"""Hears of a room, a user and whether that user now types."""


class Typing:
    """The typing users of all rooms, each with a timer that ends it."""

    def __init__(self, first_serial: int = 0, *, enabled: bool = True) -> None:
        """With the time as `first_serial`, serials go on rising over restarts.

        Without `enabled` nobody ever types.
        """
        self._enabled = enabled
        self._rooms: dict[int, dict[str, asyncio.TimerHandle]] = {}
        self._serials: dict[int, int] = {}
        self._listeners: list[Listener] = []
        self.serial = first_serial
        """Rises by one with each change."""

    def listen(self, listener: Listener) -> None:
        """Have `listener` called after each change of who types."""
        self._listeners.append(listener)

    def start(self, room_nid: int, user_id: str, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> None:
        """The user types in the room for the next `timeout_ms`, if nothing else is heard."""
        if not self._enabled:
            return
        typists = self._rooms.setdefault(room_nid, {})
        former = typists.pop(user_id, None)
        if former is not None:
            former.cancel()
        delay_s = min(timeout_ms, MAX_TIMEOUT_MS) / 1000
        typists[user_id] = asyncio.get_running_loop().call_later(
            delay_s, self.stop, room_nid, user_id
        )
        if former is None:
            self._changed(room_nid, user_id, is_typing=True)

    def stop(self, room_nid: int, user_id: str) -> None:
        """The user does not type in the room (any more)."""
        typists = self._rooms.get(room_nid, {})
        timer = typists.pop(user_id, None)
        if timer is None:
            return
        timer.cancel()
        if not typists:
            del self._rooms[room_nid]
        self._changed(room_nid, user_id, is_typing=False)

    def users_typing(self, room_nid: int) -> list[str]:
        """Who types in the room, in the order in which they began or went on."""
        return list(self._rooms.get(room_nid, ()))

    def changed_after(self, serial: int, room_nids: Iterable[int]) -> list[int]:
        """Those of the rooms whose list changed after `serial`.

        A serial that is still to come, left by a clock that went backwards, counts as 0.
        """
        if serial > self.serial:
            serial = 0
        if serial == self.serial:
            return []
        return [nid for nid in room_nids if self._serials.get(nid, 0) > serial]

    def heard(self, changes: Sequence[Change]) -> None:
        """Take note of what was committed: who has left a room does not type there."""
        for change in changes:
            if isinstance(change, EventAdded) and change.membership in GONE:
                self.stop(change.event.room_nid, str(change.event.state_key))

    def _changed(self, room_nid: int, user_id: str, *, is_typing: bool) -> None:
        self.serial += 1
        self._serials[room_nid] = self.serial
        for listener in self._listeners:
            listener(room_nid, user_id, is_typing)
