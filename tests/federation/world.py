"""A small internet on loopback: a name server, certificates, and servers to talk to.

Every host has a loopback address of its own, so that well-known ports can be used.
"""

import asyncio
import json
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from federation.outbound.address_guard import AddressGuard
from federation.outbound.backoff import Backoff
from federation.outbound.client import FederationClient
from federation.outbound.connections import Connections
from federation.outbound.discovery import Discovery
from federation.outbound.key_fetch import KeyFetch
from federation.outbound.keyring import Keyring
from federation.outbound.ports import RetryState, StoredKey
from federation.outbound.resolver import Resolver
from federation.outbound.tls import build_tls_context
from federation.outbound.well_known import WellKnown
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import OwnKeys, build_server_keys
from federation.protocol.signatures import SigningKey, signing_key_from_seed
from storage.cache import Cache
from tests.federation.certificates import Authority
from tests.federation.name_server import Hosts, NameServer, name_server
from tests.patience import PATIENCE_S
from tests.ports import free_port

US = ServerName("us.test")
NOW_TS = 1_800_000_000_000
DAY_MS = 86_400_000
VERSION = "/_matrix/federation/v1/version"
KEYS = "/_matrix/key/v2/server"

UNRECOGNIZED = (404, {"errcode": "M_UNRECOGNIZED"})

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    host: str
    sni: str | None
    headers: Mapping[str, str]
    body: bytes
    connection: object


@dataclass
class Peer:
    """A server that answers with what it is told to, and keeps what it is asked."""

    address: str
    port: int
    answers: dict[str, Any] = field(default_factory=dict)
    """By path: an object, a status with an object, or a handler."""
    seen: list[Seen] = field(default_factory=list)
    fallback: Handler | None = None
    """Answers what `answers` has nothing for."""
    sni: str | None = None

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(
            Seen(
                request.method,
                request.raw_path,
                request.headers.get("Host", ""),
                self.sni,
                request.headers,
                await request.read(),
                request.transport,
            )
        )
        answer = self.answers.get(request.path, self.fallback or UNRECOGNIZED)
        if callable(answer):
            response: web.StreamResponse = await answer(request)
            return response
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return json_response(status, body)


def json_response(status: int, body: Any, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps(body),
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


class Kept:
    """Keeps keys and health in memory, as the ports say."""

    def __init__(self) -> None:
        self.health: dict[ServerName, RetryState] = {}
        self.keys: dict[tuple[ServerName, KeyId], StoredKey] = {}
        self.reads = 0

    async def find_retry_state(self, destination: ServerName) -> RetryState | None:
        return self.health.get(destination)

    async def set_retry_state(self, destination: ServerName, state: RetryState) -> None:
        self.health[destination] = state

    async def stored_keys(
        self, wanted: Mapping[ServerName, Sequence[KeyId]]
    ) -> Sequence[StoredKey]:
        self.reads += 1
        return [
            kept
            for (server_name, key_id), kept in self.keys.items()
            if server_name in wanted and (not wanted[server_name] or key_id in wanted[server_name])
        ]

    async def keep_keys(self, keys: Sequence[StoredKey]) -> None:
        for one in keys:
            self.keys[one.key.server_name, one.key.key_id] = one


class Network:
    """The hosts, and our server among them."""

    def __init__(self, stack: AsyncExitStack, authority: Authority, dns: NameServer) -> None:
        self._stack = stack
        self.authority = authority
        self.dns = dns
        self.hosts = Hosts()
        self.kept = Kept()
        self.now_ts = NOW_TS
        self.https_port = free_port()
        self.key = test_key("us")
        self.own = OwnKeys(US, (self.key,))

    def clock(self) -> int:
        return self.now_ts

    def us(
        self,
        *,
        deny: Sequence[str] = (),
        allowed: Callable[[ServerName], bool] = lambda _name: True,
        notaries: Sequence[ServerName] = (),
        timeout_s: float = PATIENCE_S,
        verify: bool = True,
    ) -> "Us":
        """Our side of it, with these settings."""
        resolver = Resolver([self.dns.address], self.hosts.look_up)
        tls = build_tls_context([self.authority.certificate], verify=verify)
        connections = Connections(resolver, AddressGuard(deny), tls)
        self._stack.push_async_callback(connections.close)
        well_known = WellKnown(connections, self.clock, fixed_random, self.https_port)
        discovery = Discovery(well_known, resolver, self.clock, fixed_random)
        backoff = Backoff(self.kept, self.clock, fixed_random)
        client = FederationClient(
            US,
            self.key,
            connections,
            discovery,
            backoff,
            self.clock,
            is_allowed=allowed,
            timeout_s=timeout_s,
        )
        fetch = KeyFetch(client, self.clock)
        cache: Cache[Any, Any] = Cache(100_000)
        keyring = Keyring(self.own, self.kept, cache, fetch, self.clock, fixed_random, notaries)
        return Us(client, discovery, well_known, backoff, keyring, resolver, connections)

    async def peer(
        self,
        *certificate_names: str,
        port: int = 8448,
        address: str | None = None,
        hosts: Sequence[str] = (),
    ) -> Peer:
        """A server at a new address (also under the names `hosts`), speaking TLS."""
        address = address or free_address()
        context = self.authority.server_context(*(certificate_names or (address,)))
        peer = await self._serve(address, port, context)
        for host in hosts:
            self.hosts.table[host] = (peer.address,)
        return peer

    async def web_server(self, host: str, answer: Any = None, address: str | None = None) -> Peer:
        """The web server of a host, for its well-known file."""
        peer = await self.peer(host, port=self.https_port, hosts=[host], address=address)
        if answer is not None:
            peer.answers["/.well-known/matrix/server"] = answer
        return peer

    async def _serve(self, address: str, port: int, context: ssl.SSLContext) -> Peer:
        peer = Peer(address, port)

        def note_sni(_socket: object, name: str | None, _context: ssl.SSLContext) -> None:
            peer.sni = name

        context.sni_callback = note_sni
        runner = web.ServerRunner(web.Server(peer.handle), shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, address, port, ssl_context=context)
        await site.start()
        peer.port = runner.addresses[0][1]
        return peer


@dataclass(frozen=True)
class Us:
    """What our server talks to others with."""

    client: FederationClient
    discovery: Discovery
    well_known: WellKnown
    backoff: Backoff
    keyring: Keyring
    resolver: Resolver
    connections: Connections

    async def get(self, destination: str, path: str = VERSION, **options: Any) -> Any:
        return await self.client.request(ServerName(destination), "GET", path, **options)


@asynccontextmanager
async def network(authority: Authority) -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(name_server())
        yield Network(stack, authority, dns)


def test_key(version: str) -> SigningKey:
    """The same key for the same name."""
    return signing_key_from_seed(version, version.encode().ljust(32, b"\0"))


test_key.__test__ = False  # type: ignore[attr-defined]


def published(
    server_name: str, *keys: SigningKey, valid_until_ts: int = NOW_TS + DAY_MS
) -> dict[str, Any]:
    """A server's key object."""
    return build_server_keys(ServerName(server_name), keys, valid_until_ts=valid_until_ts)


def free_address() -> str:
    """A loopback address that nobody else in this run has."""
    low = random.SystemRandom().randrange(1, 250), random.SystemRandom().randrange(1, 250)
    return f"127.{100 + os.getpid() % 100}.{low[0]}.{low[1]}"


def fixed_random() -> float:
    return 1.0 - 2**-53


async def drop(request: web.BaseRequest) -> web.StreamResponse:
    """Hang up without an answer."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.sleep(0)
    return web.Response()
