"""Smaller pictures: made once for each content and size, then kept in the store."""

import asyncio

from federation.inbound.reading_ports import Thumbnail
from federation.outbound.single_flight import SingleFlight
from federation.protocol.content_disposition import media_type_of
from homeserver.media.contents import Contents
from homeserver.media.incoming import hash_file
from homeserver.media.library import Found
from homeserver.media.thumbnail_sizes import kept_size
from homeserver.media.thumbnails import PICTURES, NoThumbnail, Thumbnailer
from storage.database import Pool
from storage.media_contents import Content, Made, Size, add_thumbnail, find_thumbnail


class Thumbnails:
    """Gives thumbnails, and has them made."""

    __slots__ = ("_contents", "_db", "_flights", "_thumbnailer")

    def __init__(self, db: Pool, contents: Contents, thumbnailer: Thumbnailer) -> None:
        self._db = db
        self._contents = contents
        self._thumbnailer = thumbnailer
        self._flights = SingleFlight[tuple[int, Size], Made]()

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
            made = await self._flights.run(key, lambda: self._make(content, media_type, kept, size))
        # What one user calls a PNG, another one may call a JPEG.
        return Made(content, media_type) if made.content == content else made

    async def close(self) -> None:
        """End the processes that make them."""
        await self._thumbnailer.close()

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
