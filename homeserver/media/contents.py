"""What files contain, each content once: the store and the database together."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from federation.protocol.errors import Forbidden
from federation.protocol.response import StreamedBody
from homeserver.clock import Clock
from homeserver.media.incoming import Incoming, Received
from homeserver.media.store import Store, new_key
from storage.database import Pool
from storage.media_contents import Content, add_content, hold_content


class QuarantinedContent(Forbidden):
    """Somebody brings what an administrator has put away; `content_nid` is its number."""

    def __init__(self, content_nid: int) -> None:
        super().__init__("This file is not accepted here")
        self.content_nid = content_nid


@dataclass(slots=True)
class MediaTally:
    """Bytes of files since the start."""

    received_bytes: int = 0
    """Of those that came: uploads, other servers' files, thumbnails."""
    sent_bytes: int = 0
    """Of those that were asked for."""


class Contents:
    """Takes contents in and gives them out."""

    __slots__ = ("_clock", "_db", "_incoming", "_store", "tally")

    def __init__(self, db: Pool, clock: Clock, store: Store, incoming: Incoming) -> None:
        self._db = db
        self._clock = clock
        self._store = store
        self._incoming = incoming
        self.tally = MediaTally()

    def receive(self, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Received]:
        """Write what arrives to a file, which is there while the context lasts."""
        return self._incoming.receive(chunks)

    def place(self) -> AbstractAsyncContextManager[Path]:
        """A name at which somebody else writes a file, which is there while the context lasts."""
        return self._incoming.place()

    async def keep(self, received: Received) -> Content:
        """Have a file in the store; the caller names it within the hour.

        Raises `QuarantinedContent`, `OSError`.
        """
        self.tally.received_bytes += received.size
        held = await hold_content(self._db, received.sha256, self._clock())
        if held is not None and held.is_quarantined:
            raise QuarantinedContent(held.content_nid)
        if held is not None and held.store_key and await self._store.has(held.store_key):
            return Content(held.content_nid, held.sha256, held.size, held.store_key)
        key = new_key(received.sha256)
        await self._store.put(received.path, key)
        content_nid = await add_content(
            self._db, received.sha256, received.size, key, self._clock()
        )
        return Content(content_nid, received.sha256, received.size, key)

    def body(self, content: Content) -> StreamedBody:
        """All of a content."""
        return StreamedBody(content.size, self.read(content, 0, content.size))

    def read(self, content: Content, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """A part of a content, chunk by chunk. Raises `OSError`."""
        self.tally.sent_bytes += length
        return self._store.read(content.store_key, start, length)

    def as_path(self, content: Content) -> AbstractAsyncContextManager[Path]:
        """A content in the file system, to be read only while the context lasts."""
        return self._store.as_path(content.store_key)
