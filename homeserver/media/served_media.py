"""Our own media, for other servers."""

from federation.inbound.reading_ports import ServedMedia, Thumbnail
from federation.protocol.content_disposition import build_content_disposition
from homeserver.media.contents import Contents
from homeserver.media.library import Library
from homeserver.media.thumbnail_cache import Thumbnails


class ServedMediaFiles:
    """Gives other servers what was uploaded here."""

    __slots__ = ("_contents", "_library", "_thumbnails")

    def __init__(self, library: Library, contents: Contents, thumbnails: Thumbnails) -> None:
        self._library = library
        self._contents = contents
        self._thumbnails = thumbnails

    async def download(self, media_id: str, timeout_ms: int) -> ServedMedia:
        """A file. Raises `NotFound`, `NotYetUploaded`."""
        found = await self._library.find_ours(media_id, timeout_ms)
        kind = found.media.content_type
        disposition = build_content_disposition(kind, found.media.upload_name)
        return ServedMedia(kind, disposition, self._contents.body(found.content))

    async def thumbnail(self, media_id: str, wanted: Thumbnail, timeout_ms: int) -> ServedMedia:
        """A smaller picture. Raises `NotFound`, `NotYetUploaded`, and what making one raises."""
        found = await self._library.find_ours(media_id, timeout_ms)
        made = await self._thumbnails.get(found, wanted)
        name = f"thumbnail.{made.content_type.partition('/')[2]}"
        disposition = f"inline; filename={name}"
        return ServedMedia(made.content_type, disposition, self._contents.body(made.content))
