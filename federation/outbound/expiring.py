"""A bounded memory of things that are true for a while."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """At most `max_entries` values, each until its time; the least recently used ones make room."""

    __slots__ = ("_clock", "_entries", "_max_entries")

    def __init__(self, max_entries: int, clock: Callable[[], int]) -> None:
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._max_entries = max_entries
        self._clock = clock

    def get(self, key: K) -> V | None:
        """The value, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, until_ts = entry
        if until_ts <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, until_ts: int) -> None:
        """Keep a value until a time."""
        self._entries[key] = (value, until_ts)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def discard(self, key: K) -> None:
        """Forget a value, if it is there."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
