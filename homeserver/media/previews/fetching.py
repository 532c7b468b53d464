"""Fetching pages and pictures from anywhere: guarded, bounded, and telling nothing of the reader.

The session connects to no address that is denied, for every hop anew; cookies are not kept, and
no referrer is sent. The deadline is the caller's.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from federation.outbound.connections import Connections
from federation.protocol.errors import TooLarge
from homeserver.media.previews.errors import PreviewFailed
from homeserver.media.previews.url_rules import UrlRules, parse_url

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CHUNK_BYTES = 65_536
USER_AGENT = "Mozilla/5.0 (compatible; hearth; link preview bot)"
"""Many sites send a bare page, or none, to what does not look like a browser."""
PAGES = "text/html,application/xhtml+xml;q=0.9,image/*;q=0.8,*/*;q=0.5"
PICTURES = "image/*"
JSON = "application/json"


class Fetched:
    """An answer whose body is still to be read."""

    __slots__ = ("_response", "charset", "content_type", "url")

    def __init__(self, url: URL, response: aiohttp.ClientResponse) -> None:
        self.url = url
        """Where it came from, after redirects."""
        self.content_type = response.content_type.lower()
        self.charset = response.charset
        self._response = response

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, unpacked, piece by piece. Raises `TooLarge`, `PreviewFailed`."""
        received = 0
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                received += len(chunk)
                if received > max_bytes:
                    raise TooLarge("This is too large for a preview")
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise PreviewFailed from error

    async def beginning(self, max_bytes: int) -> bytes:
        """As much of the body as there may be. Raises `PreviewFailed`."""
        body = bytearray()
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) >= max_bytes:
                    break
        except (aiohttp.ClientError, OSError) as error:
            raise PreviewFailed from error
        return bytes(body[:max_bytes])


class Fetcher:
    """Fetches what the rules allow."""

    __slots__ = ("_connections", "_headers", "_rules")

    def __init__(self, connections: Connections, rules: UrlRules, accept_language: str) -> None:
        self._connections = connections
        self._rules = rules
        self._headers = {
            "User-Agent": USER_AGENT,
            "Accept-Language": accept_language,
            "Accept-Encoding": "gzip, deflate",
        }

    @asynccontextmanager
    async def get(self, url: URL, accept: str) -> AsyncIterator[Fetched]:
        """The answer, which ends with the context. Raises `PreviewFailed`, `UrlNotAllowed`."""
        headers = self._headers | {"Accept": accept}
        for _ in range(MAX_REDIRECTS + 1):
            self._rules.check(url)
            response = await self._request(url, headers)
            try:
                if response.status == 200:
                    yield Fetched(url, response)
                    return
                url = next_url(url, response)
            finally:
                # A body that was not read to its end takes its connection along.
                response.close()
        raise PreviewFailed

    async def _request(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        session = self._connections.session()
        try:
            return await session.get(url, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PreviewFailed from error


def next_url(url: URL, response: aiohttp.ClientResponse) -> URL:
    """Where an answer leads. Raises `PreviewFailed` for one that is no redirect."""
    location = response.headers.get("Location")
    if response.status not in REDIRECTS or location is None:
        raise PreviewFailed
    target = parse_url(location, url)
    if target is None:
        raise PreviewFailed
    return target
