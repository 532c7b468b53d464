"""Finding media by their names: our own, those that are still to come, other servers'.

Source: client-server API, "Content repository".
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from federation.protocol.errors import NotFound, NotYetUploaded
from federation.protocol.identifiers import ServerName, is_valid_mxc
from homeserver.clock import Clock
from homeserver.media.access_times import AccessTimes
from homeserver.media.awaited_uploads import AwaitedUploads
from storage.database import Pool
from storage.media import OURS, Media, find_media
from storage.media_contents import Content

MAX_ID_LENGTH = 255


class RemoteMedia(Protocol):
    """Gets other servers' media."""

    async def fetch(self, origin: ServerName, media_id: str, timeout_ms: int) -> None:
        """Fetch a file into the store. Raises `MatrixError`."""


class NoRemoteMedia:
    """For a server that does not federate."""

    async def fetch(self, origin: ServerName, media_id: str, timeout_ms: int) -> None:
        """Always raises `NotFound`."""
        del origin, media_id, timeout_ms
        raise NotFound("This server does not fetch media from others")


@dataclass(frozen=True, slots=True)
class Found:
    """Media with their content, ready to be given out."""

    media: Media
    content: Content


class Library:
    """Finds media."""

    __slots__ = ("_access_times", "_awaited", "_clock", "_db", "_remote", "_server_name")

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        awaited: AwaitedUploads,
        access_times: AccessTimes,
        remote: RemoteMedia,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._clock = clock
        self._awaited = awaited
        self._access_times = access_times
        self._remote = remote
        self._server_name = server_name

    async def find(
        self, server_name: str, media_id: str, timeout_ms: int, *, allow_remote: bool = True
    ) -> Found:
        """A file of any server. What is to be uploaded is waited for, what is elsewhere fetched.

        Raises `NotFound`, `NotYetUploaded`, and what fetching raises.
        """
        if len(media_id) > MAX_ID_LENGTH or not is_valid_mxc(f"mxc://{server_name}/{media_id}"):
            raise NotFound("There are no such media")
        if server_name == self._server_name:
            return await self.find_ours(media_id, timeout_ms)
        media = await find_media(self._db, server_name, media_id)
        if (media is None or media.content is None) and allow_remote:
            if media is not None and media.is_quarantined:
                raise NotFound("These media have been quarantined")
            await self._remote.fetch(ServerName(server_name), media_id, timeout_ms)
            media = await find_media(self._db, server_name, media_id)
        return self._give(media)

    async def find_ours(self, media_id: str, timeout_ms: int) -> Found:
        """A file of this server. Raises `NotFound`, `NotYetUploaded`."""
        media = await find_media(self._db, OURS, media_id)
        if media is not None and self._is_to_come(media):
            media = await self._wait_for(media_id, timeout_ms)
        return self._give(media)

    def _give(self, media: Media | None) -> Found:
        if media is None:
            raise NotFound("There are no such media")
        if media.is_quarantined:
            raise NotFound("These media have been quarantined")
        if media.content is None:
            raise NotFound("There are no such media")
        self._access_times.note(media)
        return Found(media, media.content)

    def _is_to_come(self, media: Media) -> bool:
        is_empty = media.content is None and not media.is_quarantined
        return is_empty and media.expires_ts is not None and media.expires_ts > self._clock()

    async def _wait_for(self, media_id: str, timeout_ms: int) -> Media | None:
        with self._awaited.expect(media_id) as arrived:
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    while True:
                        arrived.clear()
                        media = await find_media(self._db, OURS, media_id)
                        if media is None or not self._is_to_come(media):
                            return media
                        await arrived.wait()
            except TimeoutError as error:
                raise NotYetUploaded("The media have not been uploaded yet") from error
