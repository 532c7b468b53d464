"""An application service to test with: it keeps what it is told, and does as it is told to do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import yaml
from aiohttp import web

from homeserver.app import Homeserver, running
from homeserver.config.sections.appservices import AppServices
from tests.homeserver.conftest import Answer, Client, Homes, settings_for_tests
from tests.patience import PATIENCE_S
from tests.ports import free_port

Behave = Callable[[web.Request], Awaitable[web.Response]]


@dataclass
class Transaction:
    """What came with one request."""

    txn_id: str
    body: dict[str, Any]
    path: str


@dataclass
class Bridge:
    """A bridge with its own HTTP server."""

    service_id: str = "irc"
    as_token: str = "as-token-of-the-bridge"
    hs_token: str = "hs-token-of-the-server"
    fields: dict[str, Any] = field(default_factory=dict)
    """What stands in the registration besides."""
    server_name: str = "test"

    def __post_init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.transactions: list[Transaction] = []
        self.seen_ids: set[str] = set()
        self.statuses: list[int] = []
        """What the next transactions are answered; 200 from then on."""
        self.hold: asyncio.Event | None = None
        """While it is there and not set, transactions are not answered."""
        self.legacy_only = False
        self.knows: dict[str, Callable[[], Awaitable[None]]] = {}
        """Users and aliases that it makes when it is asked for them."""
        self.answers: dict[str, Any] = {}
        """What it answers to GET, by path."""
        self.headers: list[str] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.port = free_port()

    @property
    def sender(self) -> str:
        return f"@{self.service_id}bot:{self.server_name}"

    def registration(self) -> dict[str, Any]:
        return {
            "id": self.service_id,
            "url": f"http://127.0.0.1:{self.port}",
            "as_token": self.as_token,
            "hs_token": self.hs_token,
            "sender_localpart": f"{self.service_id}bot",
            "rate_limited": False,
            "namespaces": {
                "users": [{"regex": f"@{self.service_id}_.*", "exclusive": True}],
                "aliases": [{"regex": f"#{self.service_id}_.*", "exclusive": True}],
                "rooms": [],
            },
            **self.fields,
        }

    def write_to(self, directory: Path) -> Path:
        """Write the registration file."""
        file = directory / f"{self.service_id}.yaml"
        file.write_text(yaml.safe_dump(self.registration()))
        return file

    async def start(self, socket: Path | None = None) -> None:
        """Listen, on a socket or a port; again on the same port."""
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        if socket is not None:
            await web.UnixSite(self._runner, str(socket)).start()
            return
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bridge"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        raw_path = request.raw_path.partition("?")[0]
        if request.headers.get("Authorization") != f"Bearer {self.hs_token}":
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        self.requests.append((request.method, request.raw_path))
        if self.legacy_only and raw_path.startswith("/_matrix/app/v1/"):
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        if "/transactions/" in raw_path:
            return await self._take(request, raw_path)
        if raw_path.endswith("/ping"):
            return web.json_response({})
        wanted = unquote(raw_path.rpartition("/")[2])
        if wanted in self.knows:
            await self.knows[wanted]()
            return web.json_response({})
        if raw_path in self.answers:
            return web.json_response(self.answers[raw_path])
        return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)

    async def _take(self, request: web.Request, path: str) -> web.Response:
        body = await request.json()
        if self.hold is not None:
            await self.hold.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        txn_id = path.rpartition("/")[2]
        async with self._changed:
            if status == 200 and txn_id not in self.seen_ids:
                self.seen_ids.add(txn_id)
                self.transactions.append(Transaction(txn_id, body, path))
            self.headers.append(str(status))
            self._changed.notify_all()
        return web.json_response({}, status=status)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events it was told, in order."""
        return [event for txn in self.transactions for event in txn.body["events"]]

    def told(self, key: str) -> list[dict[str, Any]]:
        """All that came under another key of transactions, in order."""
        return [item for txn in self.transactions for item in txn.body.get(key, ())]

    async def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until something holds of what it was told; what holds then."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)
            return condition()

    async def wait_for_event(self, event_id: str) -> dict[str, Any]:
        """Wait until it was told of an event."""
        await self.wait_for(lambda: any(e["event_id"] == event_id for e in self.events))
        return next(e for e in self.events if e["event_id"] == event_id)


class BridgedHomes(Homes):
    """A server that works with bridges."""

    def __init__(self, server: Homeserver, session: aiohttp.ClientSession) -> None:
        super().__init__(server, session)

    def as_service(self, bridge: Bridge) -> Client:
        """The bridge as a client: its sender."""
        client = self.nobody()
        client.token = bridge.as_token
        client.user_id = bridge.sender
        return client

    def again(self, client: Client) -> Client:
        """The same session after a restart."""
        other = self.nobody()
        other.token, other.user_id = client.token, client.user_id
        other._transactions = client._transactions
        return other

    async def come_back(self, bridge: Bridge) -> None:
        """Start a bridge again, which asks at once who it is, as bridges do."""
        await bridge.start()
        (await self.as_service(bridge).get("v3/account/whoami")).ok()

    async def ghost(self, bridge: Bridge, name: str, device_id: str | None = None) -> "Ghost":
        """A user of the bridge, registered, as which it acts."""
        localpart = f"{bridge.service_id}_{name}"
        made = await register(self.as_service(bridge), localpart)
        return self.acting(bridge, made["user_id"], device_id)

    def acting(self, bridge: Bridge, user_id: str, device_id: str | None = None) -> "Ghost":
        """The bridge as one of its users."""
        ghost = Ghost(self._session, self.base_url)
        ghost.token = bridge.as_token
        ghost.user_id = user_id
        ghost.acting_device = device_id
        return ghost


class Ghost(Client):
    """A bridge acting as one of its users."""

    acting_device: str | None = None

    async def request(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **query: Any
    ) -> Answer:
        if self.acting_device is not None:
            query.setdefault("device_id", self.acting_device)
        query.setdefault("user_id", self.user_id)
        return await super().request(method, path, body, raw=raw, **query)


async def register(service: Client, localpart: str, **more: Any) -> Any:
    """Register a user of the service."""
    body = {"type": "m.login.application_service", "username": localpart, **more}
    return (await service.post("v3/register", {"inhibit_login": True, **body})).ok()


@asynccontextmanager
async def bridged(
    database_url: str, directory: Path, *bridges: Bridge, **settings: Any
) -> AsyncIterator[BridgedHomes]:
    """A server with the bridges registered; the same directory and database again is the same."""
    chosen = settings_for_tests(database_url, directory)
    files = tuple(bridge.write_to(directory) for bridge in bridges)
    appservices = AppServices(
        files=files, transaction_timeout_s=PATIENCE_S, query_timeout_s=PATIENCE_S
    )
    chosen = replace(chosen, appservices=appservices, **settings)
    async with running(chosen) as server, aiohttp.ClientSession() as session:
        yield BridgedHomes(server, session)


def path_of(room_id: str, rest: str) -> str:
    return f"v3/rooms/{quote(room_id)}/{rest}"
