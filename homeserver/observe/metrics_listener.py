"""The listener of the figures: one path, on a port of its own that nothing else is served at."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/metrics"


class MetricsListener:
    """Answers GET /metrics with what `render` gives."""

    def __init__(self, render: Callable[[], Awaitable[bytes]]) -> None:
        self._render = render
        self._connections = Server(self._answer, access_log=None)
        self._sockets: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> int:
        """Listen; the port, which is another one if 0 was asked for. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._sockets = await loop.create_server(self._connections, address, port)
        bound: int = self._sockets.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Hang up."""
        if self._sockets is not None:
            self._sockets.close()
        await self._connections.shutdown(timeout=1)

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        if request.path != PATH:
            return Response(status=404)
        if request.method not in {"GET", "HEAD"}:
            return Response(status=405, headers={"Allow": "GET, HEAD"})
        return Response(body=await self._render(), headers={"Content-Type": CONTENT_TYPE})
