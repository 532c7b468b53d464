"""Previews of URLs: fetched once for everybody, kept for a while.

Source: client-server API, GET /media/preview_url.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from yarl import URL

from federation.outbound.expiring import Expiring
from federation.outbound.single_flight import SingleFlight
from federation.protocol.errors import Forbidden, LimitExceeded, TooLarge
from homeserver.clock import Clock
from homeserver.config.sections.media import UrlPreviews as UrlPreviewSettings
from homeserver.media.previews.errors import PreviewFailed, PreviewTimedOut, UrlNotAllowed
from homeserver.media.previews.fetching import JSON, PAGES, Fetched, Fetcher
from homeserver.media.previews.oembed import MAX_BYTES, read_oembed, service_of
from homeserver.media.previews.open_graph import Preview, preview_of
from homeserver.media.previews.page_reader import PageReader
from homeserver.media.previews.preview_images import KeptImage, PreviewImages
from homeserver.media.previews.url_rules import UrlRules, parse_url
from homeserver.media.thumbnails import NoThumbnail
from storage.database import Pool
from storage.url_previews import NewPreview, add_preview, find_preview

HTML = frozenset({"text/html", "application/xhtml+xml"})
AT_A_TIME = 8
MAX_UNDER_WAY = 64
TRY_AGAIN_MS = 5000
FAILURES_KEPT_MS = 300_000
MAX_FAILURES = 1000
KIBIBYTE = 1024
Failure = PreviewFailed | PreviewTimedOut


@dataclass(frozen=True, slots=True)
class Seen:
    """What a URL shows, before its picture is fetched; `base` is what the picture's URL is to."""

    preview: Preview
    base: URL
    picture: KeptImage | None = None
    """What the URL leads to, if that is a picture itself."""


class UrlPreviews:
    """Shows what URLs lead to."""

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        settings: UrlPreviewSettings,
        fetcher: Fetcher,
        reader: PageReader,
        images: PreviewImages,
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._rules = UrlRules(settings)
        self._fetcher = fetcher
        self._reader = reader
        self._images = images
        self._flights = SingleFlight[str, bytes]()
        self._free = asyncio.Semaphore(AT_A_TIME)
        self._under_way = 0
        self._failures = Expiring[str, type[Failure]](MAX_FAILURES, clock)

    async def get(self, url: str, ts: int | None) -> bytes:
        """The preview of a URL as JSON, as it was at a time if that is known.

        Raises `Forbidden` where previews are switched off, `UrlNotAllowed`, `InvalidParam`,
        `PreviewFailed`, `PreviewTimedOut`, `LimitExceeded`.
        """
        if not self._settings.enabled:
            raise Forbidden("This server makes no previews of URLs")
        target = self._rules.read(url)
        key, now = str(target), self._clock()
        kept = await find_preview(self._db, key, now if ts is None else ts, now)
        if kept is not None:
            return kept
        failure = self._failures.get(key)
        if failure is not None:
            raise failure()
        return await self._flights.run(key, lambda: self._make(target))

    async def _make(self, url: URL) -> bytes:
        if self._under_way >= MAX_UNDER_WAY:
            raise LimitExceeded(TRY_AGAIN_MS)
        self._under_way += 1
        try:
            async with self._free:
                seen, image = await self._fetch(url)
        except (PreviewFailed, PreviewTimedOut) as failure:
            self._failures.put(str(url), type(failure), self._clock() + FAILURES_KEPT_MS)
            raise
        finally:
            self._under_way -= 1
        return await self._keep(url, seen.preview, image)

    async def _keep(self, url: URL, preview: Preview, image: KeptImage | None) -> bytes:
        fields: dict[str, Any] = dict(preview.fields)
        if image is not None:
            fields |= image.fields()
        body, now = orjson.dumps(fields), self._clock()
        expires_ts = now + self._settings.lifetime_s * 1000
        media_ids = [image.media_id] if image is not None else []
        await add_preview(self._db, NewPreview(str(url), now, expires_ts, body, media_ids))
        return body

    async def _fetch(self, url: URL) -> tuple[Seen, KeptImage | None]:
        """What there is and its picture, as far as time allows. Raises `PreviewTimedOut`."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                seen = await self._look(url)
        except TimeoutError as error:
            raise PreviewTimedOut from error
        if seen.picture is not None or seen.preview.image is None:
            return seen, seen.picture
        try:
            async with asyncio.timeout_at(deadline):
                return seen, await self._image(seen.preview.image, seen.base)
        except TimeoutError:
            return seen, None

    async def _image(self, text: str, base: URL) -> KeptImage | None:
        url = parse_url(text, base)
        return await self._images.find(url) if url is not None else None

    async def _look(self, url: URL) -> Seen:
        service = service_of(url) if self._settings.oembed else None
        if service is not None and (told := await self._ask(service)) is not None:
            return Seen(told, url)
        async with self._fetcher.get(url, PAGES) as fetched:
            if fetched.content_type.startswith("image/"):
                return Seen(Preview(), fetched.url, await self._picture(fetched))
            if fetched.content_type not in HTML:
                return Seen(Preview(), fetched.url)
            body = await fetched.beginning(self._settings.max_page_kb * KIBIBYTE)
        return await self._look_at_page(body, fetched)

    async def _look_at_page(self, body: bytes, fetched: Fetched) -> Seen:
        page = await self._reader.read(body, fetched.charset)
        base = parse_url(page.base or "", fetched.url) or fetched.url
        preview = preview_of(page)
        service = parse_url(page.oembed, base) if page.oembed else None
        if service is not None and self._settings.oembed and not preview.is_complete:
            preview = preview.completed_by(await self._ask(service) or Preview())
        return Seen(preview, base)

    async def _picture(self, fetched: Fetched) -> KeptImage | None:
        try:
            return await self._images.keep(fetched)
        except (NoThumbnail, TooLarge):
            return None

    async def _ask(self, service: URL) -> Preview | None:
        """What a service of oEmbed tells; None if it tells nothing."""
        try:
            async with self._fetcher.get(service, JSON) as fetched:
                embedded = read_oembed(await fetched.beginning(MAX_BYTES))
        except (PreviewFailed, UrlNotAllowed):
            return None
        if embedded is None:
            return None
        if embedded.html is None:
            return embedded.preview
        page = await self._reader.read(embedded.html.encode(), "utf-8")
        text = {"og:description": page.text} if page.text else {}
        return embedded.preview.completed_by(Preview(text))

    async def close(self) -> None:
        """End the processes that read pages."""
        await self._reader.close()
