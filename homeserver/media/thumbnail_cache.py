"""Smaller pictures: made once for each content and size, then kept in the store."""

import asyncio

from federation.inbound.reading_ports import Thumbnail
from federation.outbound.single_flight import SingleFlight
from federation.protocol.content_disposition import media_type_of
from federation.protocol.errors import LimitExceeded, TooLarge
from homeserver.clock import Clock
from homeserver.media.contents import Contents
from homeserver.media.incoming import hash_file
from homeserver.media.library import Found
from homeserver.media.refusals import Refusals
from homeserver.media.thumbnail_sizes import kept_size
from homeserver.media.thumbnails import PICTURES, RETRY_AFTER_MS, NoThumbnail, Thumbnailer
from storage.database import Pool
from storage.media_contents import Content, Made, Size, add_thumbnail, find_thumbnail

AHEAD = 2
"""So many pictures are ready for those that are being decoded; from a bucket, copies of them."""
MOST_UNDER_WAY = 64
REFUSED_FOR_MS = 300_000
"""What cannot be decoded, or takes too long, is not tried again at once."""
REFUSALS = 2_000

Key = tuple[int, Size]


class Thumbnails:
    """Gives thumbnails, and has them made."""

    __slots__ = (
        "_contents",
        "_db",
        "_flights",
        "_places",
        "_refusals",
        "_thumbnailer",
        "_under_way",
    )

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        contents: Contents,
        thumbnailer: Thumbnailer,
        at_a_time: int,
    ) -> None:
        self._db = db
        self._contents = contents
        self._thumbnailer = thumbnailer
        self._flights = SingleFlight[Key, Made]()
        self._places = asyncio.Semaphore(at_a_time + AHEAD)
        self._under_way = 0
        self._refusals = Refusals[Key](REFUSALS, REFUSED_FOR_MS, clock)

    async def get(self, found: Found, wanted: Thumbnail) -> Made:
        """A thumbnail of at least the size that is wanted; the picture itself if it is no larger.

        Raises `NoThumbnail` for what is no picture, `TooLarge` for one that has too many pixels,
        `LimitExceeded` when too many are being made.
        """
        content, media_type = found.content, media_type_of(found.media.content_type)
        if media_type not in PICTURES:
            raise NoThumbnail("There are thumbnails of pictures only")
        kept = kept_size(wanted)
        size = Size(kept.width, kept.height, kept.method, bool(kept.animated))
        made = await find_thumbnail(self._db, content.content_nid, size)
        if made is None:
            key = content.content_nid, size
            self._refusals.check(key)
            made = await self._flights.run(key, lambda: self._try(content, media_type, kept, size))
        # What one user calls a PNG, another one may call a JPEG.
        return Made(content, media_type) if made.content == content else made

    async def close(self) -> None:
        """End the processes that make them."""
        await self._thumbnailer.close()

    async def _try(self, content: Content, media_type: str, wanted: Thumbnail, size: Size) -> Made:
        if self._under_way >= MOST_UNDER_WAY:
            raise LimitExceeded(RETRY_AFTER_MS)
        self._under_way += 1
        try:
            async with self._places:
                return await self._make(content, media_type, wanted, size)
        except (NoThumbnail, TooLarge) as error:
            self._refusals.keep((content.content_nid, size), error)
            raise
        finally:
            self._under_way -= 1

    async def _make(self, content: Content, media_type: str, wanted: Thumbnail, size: Size) -> Made:
        async with self._contents.as_path(content) as source, self._contents.place() as target:
            made = await self._thumbnailer.make(source, target, media_type, wanted)
            if made is None:
                smaller, made_type = content, media_type
            else:
                smaller = await self._contents.keep(await asyncio.to_thread(hash_file, target))
                made_type = made.content_type
        await add_thumbnail(self._db, content.content_nid, size, smaller.content_nid, made_type)
        return Made(smaller, made_type)
