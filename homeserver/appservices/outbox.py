"""What waits for one application service, and the next part of it that makes a transaction.

What comes in while the service keeps up waits here. If it falls behind, what waits is dropped, as
it can be read back from the stream; so a service that is away for long costs no memory.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storage.changes import (
    Change,
    EventAdded,
    InviteChanged,
    PresenceSet,
    ToDeviceAdded,
)

MAX_CHANGES = 100
MAX_BYTES = 1_048_576
"""Of events in a transaction, if it has more than one."""
MAX_WAITING = 1_000
MAX_PRESENT = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What a transaction tells: changes after the position `since`, up to `reaches`.

    `typing` are rooms in which somebody has begun or ceased to type.
    """

    since: int
    reaches: int
    changes: tuple[Change, ...] = ()
    typing: frozenset[int] = frozenset()
    presence: Mapping[int, PresenceSet] = field(default_factory=dict)

    @property
    def is_durable(self) -> bool:
        """Whether it has what must neither be lost nor told twice."""
        return any(
            isinstance(change, EventAdded | InviteChanged | ToDeviceAdded)
            for change in self.changes
        )


class Outbox:
    """The queue of one service, fed in the order of the stream."""

    def __init__(self, position: int) -> None:
        """`position` is that up to which everything has been delivered."""
        self.fed_upto = position
        self.taken_upto = position
        self.is_behind = True
        """Whether what comes next has to be read back."""
        self._waiting: deque[Change] = deque()
        self._typing: set[int] = set()
        self._presence: dict[int, PresenceSet] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def hear(self, changes: Iterable[Change], upto: int) -> None:
        """Take the next stretch of the stream as it is committed, if the service keeps up."""
        if not self.is_behind:
            self.feed(changes, upto)
            if len(self._waiting) > MAX_WAITING:
                self.fall_behind()

    def feed(self, changes: Iterable[Change], upto: int) -> None:
        """Take the next stretch of the stream; what is known already is passed over."""
        for change in changes:
            if change.position <= self.fed_upto:
                continue
            if not isinstance(change, PresenceSet):
                self._waiting.append(change)
            elif not self.is_behind and len(self._presence) < MAX_PRESENT:
                self._presence[change.user_nid] = change
        self.fed_upto = max(self.fed_upto, upto)
        if self._waiting or self._presence:
            self._news.set()

    def fall_behind(self) -> None:
        """Leave what waits to be read back."""
        self._waiting.clear()
        self._presence.clear()
        self._typing.clear()
        self.fed_upto = self.taken_upto
        self.is_behind = True
        self._news.set()

    def typing_changed(self, room_nid: int) -> None:
        """Somebody begins or ceases to type."""
        if not self.is_behind:
            self._typing.add(room_nid)
            self._news.set()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until there may be something to take or to read back; False if it takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def take(self, upto: int | None = None) -> Batch | None:
        """What makes the next transaction: everything up to `upto`, or else as much as it holds.

        None if nothing waits. What stands at one position stays together.
        """
        taken: list[Change] = []
        size = 0
        while self._waiting:
            change = self._waiting[0]
            is_full = len(taken) >= MAX_CHANGES or size > MAX_BYTES
            if upto is not None and change.position > upto:
                break
            if upto is None and is_full and change.position > taken[-1].position:
                break
            taken.append(self._waiting.popleft())
            size += len(change.event.json) if isinstance(change, EventAdded) else 0
        since = self.taken_upto
        reaches = upto if upto is not None else self.fed_upto
        if self._waiting and upto is None:
            reaches = taken[-1].position
        self.taken_upto = reaches
        typing, self._typing = frozenset(self._typing), set()
        presence, self._presence = self._presence, {}
        if not (taken or typing or presence):
            return None
        return Batch(since, reaches, tuple(taken), typing, presence)
