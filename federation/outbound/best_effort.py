"""What a destination is told if it is there to hear it: typing, receipts, presence.

Of each thing only the latest counts, so what gathers while a transaction is under way takes no
more room than the things there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from federation.protocol.edu import (
    Edu,
    PresenceUpdate,
    Receipt,
    Typist,
    build_presence,
    build_receipts,
    build_typing,
)
from federation.protocol.identifiers import UserId

K = TypeVar("K")
V = TypeVar("V")

MAX_OF_KIND = 500
"""Typists, receipts and presences that are held for a destination; the oldest make room."""
MAX_IN_EDU = 100
"""Receipts or presences of one transaction."""

ReceiptPlace = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Told:
    """What a transaction tells. Presence comes with the time at which it was true."""

    typing: Sequence[Typist] = ()
    receipts: Sequence[Receipt] = ()
    presence: Sequence[tuple[PresenceUpdate, int]] = ()

    def edus(self, now_ts: int) -> list[Edu]:
        """The EDUs that say it."""
        edus = [build_typing(typist) for typist in self.typing]
        edus += build_receipts(self.receipts)
        if self.presence:
            edus.append(build_presence(aged(update, now_ts - ts) for update, ts in self.presence))
        return edus


class BestEffort:
    """The latest of everything that a destination has not been told."""

    __slots__ = ("_presence", "_receipts", "_typing")

    def __init__(self) -> None:
        self._typing: dict[tuple[str, str], Typist] = {}
        self._receipts: dict[ReceiptPlace, Receipt] = {}
        self._presence: dict[UserId, tuple[PresenceUpdate, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._typing or self._receipts or self._presence)

    def add_typing(self, typist: Typist) -> None:
        """Somebody types or has stopped."""
        _put(self._typing, (typist.room_id, typist.user_id), typist)

    def add_receipt(self, receipt: Receipt) -> None:
        """Somebody has read on."""
        _put(self._receipts, _place(receipt), receipt)

    def add_presence(self, update: PresenceUpdate, ts: int) -> None:
        """Somebody shows another presence since `ts`."""
        _put(self._presence, update.user_id, (update, ts))

    def take(self, max_edus: int) -> Told:
        """As much as `max_edus` EDUs can tell; it is no longer held."""
        places = list(self._typing)[: max(max_edus - 1, 0)]
        typing = [self._typing.pop(place) for place in places]
        left = max_edus - len(typing)
        users = list(self._presence)[:MAX_IN_EDU] if left > 0 else []
        presence = [self._presence.pop(user_id) for user_id in users]
        return Told(typing, self._take_receipts(left - bool(presence)), presence)

    def put_back(self, told: Told) -> None:
        """What was taken has not been told. Who typed then need not be known now."""
        for receipt in told.receipts:
            self._receipts.setdefault(_place(receipt), receipt)
        for update, ts in told.presence:
            self._presence.setdefault(update.user_id, (update, ts))

    def clear(self) -> None:
        """Hold nothing any more."""
        self._typing.clear()
        self._receipts.clear()
        self._presence.clear()

    def _take_receipts(self, max_edus: int) -> list[Receipt]:
        """Receipts for at most so many EDUs; each EDU has one place for a user in a room."""
        edus_needed: dict[tuple[str, str], int] = {}
        chosen: list[ReceiptPlace] = []
        for place in self._receipts:
            needed = edus_needed.get(place[:2], 0) + 1
            if needed <= max_edus and len(chosen) < MAX_IN_EDU:
                edus_needed[place[:2]] = needed
                chosen.append(place)
        return [self._receipts.pop(place) for place in chosen]


def aged(update: PresenceUpdate, by_ms: int) -> PresenceUpdate:
    """The same presence told later."""
    return replace(update, last_active_ago_ms=update.last_active_ago_ms + max(by_ms, 0))


def _place(receipt: Receipt) -> ReceiptPlace:
    return receipt.room_id, receipt.user_id, receipt.thread_id


def _put(held: dict[K, V], key: K, value: V) -> None:
    held.pop(key, None)
    held[key] = value
    if len(held) > MAX_OF_KIND:
        del held[next(iter(held))]
