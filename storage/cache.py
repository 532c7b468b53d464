"""Bounded caches. All caches of a process share one budget of bytes; each has its part of it."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakSet

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What caches hold together."""

    bytes: int
    entries: int


class Cache(Generic[K, V]):
    """Keeps the most recently used values whose costs together stay within `max_bytes`."""

    __slots__ = ("__weakref__", "_bytes", "_entries", "_max_bytes")

    made: ClassVar["WeakSet[Cache[Any, Any]]"] = WeakSet()
    """All that there are, to be counted together."""

    def __init__(self, max_bytes: int) -> None:
        Cache.made.add(self)
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes

    @property
    def bytes(self) -> int:
        """What the values take, as their costs say."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """The value, marked as used, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, cost: int) -> None:
        """Keep a value that takes about `cost` bytes; the least recently used ones make room."""
        self.discard(key)
        self._entries[key] = (value, cost)
        self._bytes += cost
        while self._bytes > self._max_bytes and len(self._entries) > 1:
            _, (_, freed) = self._entries.popitem(last=False)
            self._bytes -= freed

    def discard(self, key: K) -> None:
        """Forget a value, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def use(cls) -> CacheUse:
        """What all caches of the process hold."""
        caches = list(cls.made)
        return CacheUse(sum(cache.bytes for cache in caches), sum(map(len, caches)))
