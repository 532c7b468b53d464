"""Reserved media IDs that somebody waits for, in this process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Announce = Callable[[str], Awaitable[None]]


class AwaitedUploads:
    """Wakes those who wait when something was uploaded, here or in another process."""

    __slots__ = ("_announce", "_waiting")

    def __init__(self, announce: Announce) -> None:
        self._announce = announce
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def expect(self, media_id: str) -> Iterator[asyncio.Event]:
        """What is set whenever the medium may have arrived, while the context lasts."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(media_id, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(media_id, None)

    async def arrived(self, media_id: str) -> None:
        """Something was uploaded here."""
        self.hear(media_id)
        await self._announce(media_id)

    def hear(self, media_id: str) -> None:
        """Something was uploaded."""
        for event in self._waiting.get(media_id, ()):
            event.set()

    def look_again(self) -> None:
        """Something may have been uploaded that was not heard of."""
        for events in self._waiting.values():
            for event in events:
                event.set()
