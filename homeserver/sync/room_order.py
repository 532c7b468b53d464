"""A user's rooms by their last activity, kept in memory while the user's clients slide.

Hearing of a change moves its room to the end, so that finding what has changed since a position
takes as many steps as there is to find.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from storage.changes import AccountDataSet, Change, EventAdded, ReceiptMoved

PREFERENCES = frozenset(("m.direct", "m.tag", "m.ignored_user_list", "m.invite_permission_config"))
"""Account data that decides which rooms there are in lists."""

Positions = OrderedDict[int, int]
"""Rooms and the position of the last change, the latest at the end."""


class RoomOrder:
    """The order of one user's rooms; `begun` is the position from which all is noted."""

    __slots__ = (
        "_user_nid",
        "account_data",
        "begun",
        "events",
        "is_complete",
        "preferences",
        "reads",
        "receipts",
    )

    def __init__(self, user_nid: int, begun: int) -> None:
        self._user_nid = user_nid
        self.begun = begun
        self.is_complete = False
        self.preferences = begun
        """The position of the last change of one of the `PREFERENCES`."""
        self.events: Positions = OrderedDict()
        self.receipts: Positions = OrderedDict()
        self.reads: Positions = OrderedDict()
        """The user's own receipts."""
        self.account_data: Positions = OrderedDict()
        """0 is the account itself."""

    def note(self, change: Change) -> None:
        """Take in a change that concerns the user."""
        if isinstance(change, EventAdded):
            _move(self.events, change.event.room_nid, change.position)
        elif isinstance(change, ReceiptMoved):
            _move(self.receipts, change.room_nid, change.position)
            if change.user_nid == self._user_nid:
                _move(self.reads, change.room_nid, change.position)
        elif isinstance(change, AccountDataSet):
            _move(self.account_data, change.room_nid, change.position)
            if change.type in PREFERENCES:
                self.preferences = change.position

    def complete(self, rows: Iterable[tuple[int, int]]) -> None:
        """Take in how the rooms stood before anything was noted."""
        positions: Mapping[int, int] = dict(rows)
        merged = {**positions, **self.events}
        self.events = OrderedDict(sorted(merged.items(), key=lambda item: item[1]))
        self.is_complete = True

    def newest_first(self) -> Iterator[int]:
        """The rooms, the one with the latest activity first."""
        return reversed(self.events)

    def changed_since(self, position: int) -> set[int]:
        """Rooms in which something happened after a position, as far as it was noted."""
        found: set[int] = set()
        for positions in (self.events, self.receipts, self.account_data):
            found.update(after(positions, position))
        found.discard(0)
        return found


def after(positions: Positions, position: int) -> Iterator[int]:
    """The rooms whose position is higher, the highest first."""
    for room_nid in reversed(positions):
        if positions[room_nid] <= position:
            return
        yield room_nid


def _move(positions: Positions, room_nid: int, position: int) -> None:
    positions[room_nid] = position
    positions.move_to_end(room_nid)
