"""The pictures of previews: fetched, looked at, and kept as media of this server."""

from dataclasses import dataclass
from typing import Any

from yarl import URL

from federation.protocol.errors import MatrixError
from homeserver.media.contents import Contents
from homeserver.media.previews.fetching import PICTURES, Fetched, Fetcher
from homeserver.media.thumbnails import Thumbnailer
from homeserver.media.uploads import Uploads

MEBIBYTE = 1_048_576


@dataclass(frozen=True, slots=True)
class KeptImage:
    """A picture as a preview shows it."""

    uri: str
    content_type: str
    width: int
    height: int
    size: int

    @property
    def media_id(self) -> str:
        """The name of the file."""
        return self.uri.rpartition("/")[2]

    def fields(self) -> dict[str, Any]:
        """What clients are told."""
        return {
            "og:image": self.uri,
            "og:image:type": self.content_type,
            "og:image:width": self.width,
            "og:image:height": self.height,
            "matrix:image:size": self.size,
        }


class PreviewImages:
    """Fetches pictures and keeps them."""

    __slots__ = ("_contents", "_fetcher", "_max_bytes", "_thumbnailer", "_uploads")

    def __init__(
        self,
        fetcher: Fetcher,
        contents: Contents,
        uploads: Uploads,
        thumbnailer: Thumbnailer,
        max_mb: int,
    ) -> None:
        self._fetcher = fetcher
        self._contents = contents
        self._uploads = uploads
        self._thumbnailer = thumbnailer
        self._max_bytes = max_mb * MEBIBYTE

    async def find(self, url: URL) -> KeptImage | None:
        """The picture behind a URL; None if it cannot be had or is none."""
        try:
            async with self._fetcher.get(url, PICTURES) as fetched:
                return await self.keep(fetched)
        except MatrixError:
            return None

    async def keep(self, fetched: Fetched) -> KeptImage:
        """Keep what is being fetched.

        Raises `NoThumbnail` for what is no picture, `TooLarge`, `PreviewFailed`, `LimitExceeded`.
        """
        async with self._contents.receive(fetched.chunks(self._max_bytes)) as received:
            picture = await self._thumbnailer.measure(received.path)
            uri = await self._uploads.add_made(received, picture.content_type)
        return KeptImage(uri, picture.content_type, picture.width, picture.height, received.size)
