"""What waits to be pushed by one pusher."""

from collections import deque
from collections.abc import Iterable, Sequence

from homeserver.push.decisions import Notified

MOST_SINGLY = 10
"""If more wait, of each room only the latest is pushed, and what stands out."""
MOST_WAITING = 100


class Outbox:
    """The notifications of a pusher in the order of the stream, and whether it wants new counts.

    `is_catching_up` says that the pusher was behind: the database says so until all is done.
    """

    __slots__ = (
        "has_read_back",
        "is_catching_up",
        "items",
        "pusher_nid",
        "sending",
        "user_nid",
        "wants_badge",
    )

    def __init__(self, pusher_nid: int, user_nid: int, *, is_catching_up: bool = False) -> None:
        self.pusher_nid = pusher_nid
        self.user_nid = user_nid
        self.is_catching_up = is_catching_up
        self.has_read_back = not is_catching_up
        self.items: deque[Notified] = deque()
        self.sending: Notified | None = None
        self.wants_badge = False

    @property
    def first_position(self) -> int | None:
        """The position of the first that is not done, if any."""
        first = self.sending or (self.items[0] if self.items else None)
        return None if first is None else first.position

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to do."""
        return not self.items and not self.wants_badge

    def add(self, items: Iterable[Notified]) -> None:
        """Take more, each once."""
        known = {item.position for item in self.items}
        new = [item for item in items if item.position not in known]
        if not new:
            return
        waiting = sorted([*self.items, *new], key=lambda item: item.position)
        self.items = deque(coalesce(waiting))


def coalesce(items: Sequence[Notified]) -> Sequence[Notified]:
    """What is pushed of many that wait: the latest of each room and what stands out."""
    if len(items) <= MOST_SINGLY:
        return items
    latest = {item.event.room_nid: item.position for item in items}
    return [
        item
        for item in items
        if item.decision.highlight or latest[item.event.room_nid] == item.position
    ][-MOST_WAITING:]
