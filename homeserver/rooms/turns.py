"""One at a time for each key; what nobody holds or waits for any more is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Turn:
    """A lock, and how many hold it or wait for it."""

    __slots__ = ("count", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0


class Turns(Generic[K]):
    """Locks by key."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[K, Turn] = {}

    def __len__(self) -> int:
        """How many keys are held or waited for."""
        return len(self._by_key)

    @asynccontextmanager
    async def of(self, key: K) -> AsyncIterator[None]:
        """Wait until those who came earlier with this key have left."""
        turn = self._by_key.setdefault(key, Turn())
        turn.count += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.count -= 1
            if not turn.count:
                del self._by_key[key]
