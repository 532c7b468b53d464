"""A site on the loopback interface that pages are fetched from, and that remembers who came."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = web.StreamResponse
Handler = Callable[[web.BaseRequest], Awaitable[Answer]]


class Website:
    """Pages by path."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.url = ""
        self._answers: dict[str, Handler] = {}

    def put(
        self, path: str, body: bytes | str, content_type: str = "text/html", **headers: str
    ) -> str:
        """Serve something; its URL."""
        data = body.encode() if isinstance(body, str) else body

        async def answer(request: web.BaseRequest) -> Answer:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=data, headers={"Content-Type": content_type, **named})

        return self.serve(path, answer)

    def redirect(self, path: str, location: str) -> str:
        """Lead elsewhere; the URL that does."""

        async def answer(request: web.BaseRequest) -> Answer:
            return web.Response(status=302, headers={"Location": location, "Set-Cookie": "a=b"})

        return self.serve(path, answer)

    def serve(self, path: str, handler: Handler) -> str:
        """Answer with a handler; the URL."""
        self._answers[path] = handler
        return self.url + path

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.path for request in self.requests]

    async def handle(self, request: web.BaseRequest) -> Answer:
        assert isinstance(request, web.BaseRequest)
        self.requests.append(request)
        handler = self._answers.get(request.path)
        return await handler(request) if handler else web.Response(status=404)


@asynccontextmanager
async def open_website() -> AsyncIterator[Website]:
    site = Website()
    runner = web.ServerRunner(web.Server(site.handle), shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        await runner.cleanup()


async def endlessly(request: web.BaseRequest) -> Answer:
    """A page without end."""
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    await response.write(b"<title>Endless</title>")
    while True:
        await response.write(b"<p>more and more" * 1000)
        await asyncio.sleep(0)


async def never(request: web.BaseRequest) -> Answer:
    """A page that does not come."""
    await asyncio.Event().wait()
    raise AssertionError


def bomb(beginning: bytes, zeros: int) -> bytes:
    """A page that unfolds to many zeros."""
    return gzip.compress(beginning + b"\0" * zeros)


def og(**properties: Any) -> str:
    """A page with such properties."""
    metas = "".join(
        f'<meta property="og:{name}" content="{value}">' for name, value in properties.items()
    )
    return f"<html><head>{metas}</head><body></body></html>"
