"""The content repository as a whole."""

from dataclasses import dataclass

from homeserver.media.access_times import AccessTimes
from homeserver.media.contents import Contents
from homeserver.media.library import Library
from homeserver.media.previews.url_previews import UrlPreviews
from homeserver.media.quarantine import Quarantine
from homeserver.media.thumbnail_cache import Thumbnails
from homeserver.media.upkeep import Upkeep
from homeserver.media.uploads import Uploads


@dataclass(frozen=True, slots=True)
class MediaRepository:
    """The services of media."""

    contents: Contents
    uploads: Uploads
    library: Library
    thumbnails: Thumbnails
    access_times: AccessTimes
    quarantine: Quarantine
    upkeep: Upkeep
    previews: UrlPreviews

    async def close(self) -> None:
        """End the processes that decode pictures and pages."""
        await self.thumbnails.close()
        await self.previews.close()
