"""Tokens for places in a room's history, as `from`, `to`, `prev_batch` and `next_batch` carry them.

History is ordered by (depth, stream position) within a room. A token names a gap between two
events of that order, never an event: `t{depth}_{position}` is the gap right after every event
whose pair is at most (depth, position), whether or not there is an event with that very pair.
Paging backwards from a gap begins with the event before it, paging forwards with the one after.

A token of /sync, `s{position}_…`, stands for everything that this server had received up to a
stream position, wherever it stands in the order. Whoever pages backwards from there goes on with
`t{depth}_{position}_{received}`: what was received later has been told by /sync, also where it
stands further back in the order.
"""

import re
from dataclasses import dataclass

from federation.protocol.errors import InvalidParam
from storage.changes import StoredEvent

HISTORY_TOKEN = re.compile(r"t(-?[0-9]{1,18})_(-?[0-9]{1,18})(?:_([0-9]{1,18}))?")
SYNC_TOKEN = re.compile(r"s([0-9]{1,18})(?:_.*)?")


@dataclass(frozen=True, slots=True)
class Gap:
    """The place right after every event whose (depth, position) is at most this pair.

    Going backwards from it, what was received after `received` is left out.
    """

    depth: int
    position: int
    received: int | None = None

    def __str__(self) -> str:
        text = f"t{self.depth}_{self.position}"
        return text if self.received is None else f"{text}_{self.received}"


@dataclass(frozen=True, slots=True)
class Received:
    """What had been received up to a stream position (inclusive)."""

    position: int

    def __str__(self) -> str:
        return f"s{self.position}"


HistoryPoint = Gap | Received
"""Where paging may begin or stop; `str` of one is its token."""


def parse_point(token: str) -> HistoryPoint:
    """The place that a token names. Raises `InvalidParam` for what is no token."""
    history = HISTORY_TOKEN.fullmatch(token)
    if history:
        received = None if history[3] is None else int(history[3])
        return Gap(int(history[1]), int(history[2]), received)
    sync = SYNC_TOKEN.fullmatch(token)
    if sync:
        return Received(int(sync[1]))
    raise InvalidParam("Not a pagination token")


def gap_after(event: StoredEvent) -> Gap:
    """The gap right after an event that has a place in its room's history."""
    return Gap(event.depth, _position(event))


def gap_before(event: StoredEvent, received: int | None = None) -> Gap:
    """The gap right before an event that has a place in its room's history."""
    return Gap(event.depth, _position(event) - 1, received)


def received_before(event: StoredEvent) -> Received:
    """What had been received before an event.

    This is the `prev_batch` of a timeline in the order of arrival that begins with the event.
    """
    return Received(_position(event) - 1)


def _position(event: StoredEvent) -> int:
    if event.position is None:
        raise ValueError(f"{event.event_id} has no place in its room's history")
    return event.position
