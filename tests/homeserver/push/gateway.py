"""A push gateway that a test plays, and the pushers that lead to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from homeserver.app import running
from homeserver.config.sections.federation import Outgoing
from homeserver.config.settings import Settings
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.patience import PATIENCE_S

NOTIFY = "/_matrix/push/v1/notify"


@dataclass
class PushGateway:
    """Takes notifications down; answers with `status` and the `rejected` pushkeys."""

    port: int = 0
    status: int = 200
    rejected: list[str] = field(default_factory=list)
    asked: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    pieces: int = 1
    """In how many pieces it answers."""
    hold: asyncio.Event | None = None
    """While it is set to an event that has not come, nothing is answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{NOTIFY}"

    async def next(self) -> dict[str, Any]:
        """The next notification that comes in."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.asked.get()

    async def next_with_event(self) -> dict[str, Any]:
        """The next notification of an event."""
        while True:
            notification = await self.next()
            if "event_id" in notification:
                return notification

    async def next_badge(self) -> dict[str, Any]:
        """The next notification of nothing but counts."""
        while True:
            notification = await self.next()
            if "event_id" not in notification:
                return notification

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        status, rejected = self.status, list(self.rejected)
        self.asked.put_nowait(body["notification"])
        if self.hold is not None:
            await self.hold.wait()
        return await self._answer(request, orjson.dumps({"rejected": rejected}), status)

    async def _answer(
        self, request: web.BaseRequest, body: bytes, status: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        size = -(-len(body) // self.pieces)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            # The server, which runs in the same loop, gets to read this piece before the next.
            for _ in range(20):
                await asyncio.sleep(0)
        await response.write_eof()
        return response

    def pusher(self, pushkey: str = "key", **changes: Any) -> dict[str, Any]:
        """The body that sets a pusher which leads here."""
        data = {"url": self.url, **changes.pop("data", {})}
        return {
            "kind": "http",
            "app_id": "org.example.app",
            "pushkey": pushkey,
            "app_display_name": "App",
            "device_display_name": "Phone",
            "lang": "en",
            "data": data,
            **changes,
        }

    async def follow(self, client: Client, pushkey: str = "key", **changes: Any) -> None:
        """Have a user's notifications sent here."""
        (await client.post("v3/pushers/set", self.pusher(pushkey, **changes))).ok()


@asynccontextmanager
async def push_gateway() -> AsyncIterator[PushGateway]:
    """A gateway that listens on loopback."""
    gateway = PushGateway()
    server = web.Server(gateway.handle)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.port = runner.addresses[0][1]
    try:
        yield gateway
    finally:
        if gateway.hold is not None:
            gateway.hold.set()
        await runner.cleanup()


def settings_with_gateway(database_url: str, directory: Path) -> Settings:
    """A server that may reach a gateway on loopback."""
    return replace(
        settings_for_tests(database_url, directory),
        outgoing=Outgoing(allow_ip_ranges=("127.0.0.0/8",)),
    )


@asynccontextmanager
async def pushing_homes(settings: Settings) -> AsyncIterator[Homes]:
    """A running server."""
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)
