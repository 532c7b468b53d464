"""Other servers' media: fetched when one of our users asks, and kept until nobody does.

A file is fetched once however many ask for it, and the fetching goes on when they hang up: whoever
has a slow link finds it here the next time. What could not be had is not asked for again at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from federation.outbound.errors import FederationError, Unreachable
from federation.outbound.media import FarMedia, MediaFetch
from federation.outbound.single_flight import SingleFlight
from federation.protocol.content_disposition import clean_type, find_file_name
from federation.protocol.errors import (
    MatrixError,
    NotFound,
    NotYetUploaded,
    RemoteTooLarge,
)
from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.sections.media import Media as MediaSettings
from homeserver.media.contents import Contents, QuarantinedContent
from homeserver.media.refusals import Refusals
from storage.database import Pool
from storage.media import NewMedia, keep_fetched_media

MEBIBYTE = 1_048_576
MOST_S = 3600.0
"""How long fetching a file may take, however steadily it comes."""
AT_A_TIME = 40
FROM_ONE_SERVER = 4
"""So many files are fetched side by side; the server's other requests need connections too."""
REFUSED_FOR_MS = 60_000
REFUSALS = 5_000


class RemoteFiles:
    """Fetches other servers' media."""

    __slots__ = (
        "_clock",
        "_contents",
        "_db",
        "_fetch",
        "_flights",
        "_places",
        "_refusals",
        "_servers",
        "_settings",
    )

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        contents: Contents,
        fetch: MediaFetch,
        settings: MediaSettings,
    ) -> None:
        self._db = db
        self._clock = clock
        self._contents = contents
        self._fetch = fetch
        self._settings = settings
        self._flights = SingleFlight[tuple[ServerName, str], None]()
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._servers: dict[ServerName, tuple[asyncio.Semaphore, int]] = {}
        self._refusals = Refusals[tuple[ServerName, str]](REFUSALS, REFUSED_FOR_MS, clock)

    async def fetch(self, origin: ServerName, media_id: str, timeout_ms: int) -> None:
        """Fetch a file into the store, and note its name.

        Raises `NotFound`, `NotYetUploaded`, `RemoteTooLarge`, `FederationError`.
        """
        key = origin, media_id
        self._refusals.check(key)
        await self._flights.run(key, lambda: self._fetch_once(origin, media_id, timeout_ms))

    async def _fetch_once(self, origin: ServerName, media_id: str, timeout_ms: int) -> None:
        try:
            async with (
                self._turn_of(origin),
                asyncio.timeout(MOST_S),
                self._fetch.download(origin, media_id, timeout_ms) as media,
            ):
                await self._keep(origin, media_id, media)
        except TimeoutError as error:
            raise Unreachable(origin, "the file does not arrive in time") from error
        except FederationError as error:
            raise self._refused(origin, media_id, error) from error
        except RemoteTooLarge as error:
            self._refusals.keep((origin, media_id), error)
            raise

    async def _keep(self, origin: ServerName, media_id: str, media: FarMedia) -> None:
        max_bytes = self._settings.max_remote_mb * MEBIBYTE
        if (media.length or 0) > max_bytes:
            raise too_large(max_bytes)
        async with self._contents.receive(limited(media.chunks, max_bytes)) as received:
            try:
                content_nid = (await self._contents.keep(received)).content_nid
            except QuarantinedContent as error:
                content_nid = error.content_nid
        new = NewMedia(
            origin=origin,
            media_id=media_id,
            user_nid=None,
            content_type=clean_type(media.content_type),
            upload_name=find_file_name(media.content_disposition or ""),
            created_ts=self._clock(),
            needs_token=self._settings.freeze_unauthenticated,
        )
        await keep_fetched_media(self._db, new, content_nid)

    def _refused(self, origin: ServerName, media_id: str, error: FederationError) -> MatrixError:
        """What our user is told."""
        if error.answer_errcode == NotYetUploaded.errcode:
            return NotYetUploaded("The media have not been uploaded yet")
        if error.answer_status == NotFound.status:
            missing = NotFound("The media's server has none such")
            self._refusals.keep((origin, media_id), missing)
            return missing
        return error.relayed()

    @asynccontextmanager
    async def _turn_of(self, origin: ServerName) -> AsyncIterator[None]:
        """Wait until there is a place, at this server and altogether."""
        turns, users = self._servers.get(origin, (asyncio.Semaphore(FROM_ONE_SERVER), 0))
        self._servers[origin] = turns, users + 1
        try:
            async with turns, self._places:
                yield
        finally:
            turns, users = self._servers.pop(origin)
            if users > 1:
                self._servers[origin] = turns, users - 1


async def limited(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """The chunks, as long as they are not too many. Raises `RemoteTooLarge`."""
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> RemoteTooLarge:
    """The error for a file that is not fetched."""
    return RemoteTooLarge(f"Media of other servers larger than {max_bytes} bytes are not fetched")
