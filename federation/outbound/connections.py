"""Guarded HTTPS: the session that every request to another server goes through.

Links may be slow, lossy or gone for a while. The kernel would go on repeating what nobody hears,
less and less often, for a quarter of an hour, and say nothing of it for minutes after the link is
back. So what is sent in small pieces is repeated at an even pace, and a connection whose packets
nobody acknowledges is given up soon.
"""

import asyncio
import os
import socket
import ssl
import sys
from collections import OrderedDict
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from federation.outbound.address_guard import AddressDenied, AddressGuard
from federation.outbound.resolver import Resolver

CONNECT_TIMEOUT_S = 10.0
"""For each address of a server: connection and TLS handshake."""
MAX_CONNECTIONS = 200
MAX_CONNECTIONS_TO_ONE = 10
MAX_KEPT_OPEN = 100
"""Places to which connections stay open after use. Each takes 60 KB, and after hours without a link
there are as many to talk to at once as there are other servers."""
KEPT_OPEN_S = 30.0
ADDRESSES_KEPT_S = 60
UNACKNOWLEDGED_MS = 15_000
"""A connection is given up when the other side has acknowledged nothing for so long."""
TCP_THIN_LINEAR_TIMEOUTS = 16
"""Linux: connections with little under way do not double the time between repetitions at once."""
USER_AGENT = "hearth"
NOT_TLS = "what listens there does not speak TLS"
NOT_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


class GuardedResolver(AbstractResolver):
    """The resolver as aiohttp wants it, without addresses that may not be connected to."""

    def __init__(self, resolver: Resolver, guard: AddressGuard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises `OSError`, `AddressDenied` if none may be used."""
        del family
        found = await self._resolver.addresses(host)
        allowed = [address for address in found if self._guard.is_allowed(address)]
        if not allowed:
            raise AddressDenied(f"outgoing connections to {', '.join(found)} are not allowed")
        return [_resolved(host, port, address) for address in allowed]

    async def close(self) -> None:
        """Nothing: the resolver is not ours."""


def open_session(
    resolver: Resolver, guard: AddressGuard, tls: ssl.SSLContext, keepalive_s: float
) -> aiohttp.ClientSession:
    """A session that connects to nothing that the guard denies, and keeps connections for reuse."""
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(resolver, guard),
        # Addresses in URLs do not pass the resolver; every socket passes here.
        socket_factory=lambda address_info: open_socket(guard, address_info),
        ssl=tls,
        limit=MAX_CONNECTIONS,
        limit_per_host=MAX_CONNECTIONS_TO_ONE,
        keepalive_timeout=keepalive_s,
        ttl_dns_cache=ADDRESSES_KEPT_S,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        trust_env=False,
    )


def open_socket(guard: AddressGuard, address_info: Any) -> socket.socket:
    """A socket for an entry of `getaddrinfo`. Raises `AddressDenied`."""
    made = guard.open_socket(address_info)
    if sys.platform == "linux":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        made.setsockopt(socket.IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1)
    return made


class Connections:
    """The guarded session, opened when it is first needed and closed with the server."""

    __slots__ = ("_guard", "_keepalive_s", "_kept_open", "_resolver", "_session", "_tls")

    def __init__(
        self,
        resolver: Resolver,
        guard: AddressGuard,
        tls: ssl.SSLContext,
        keepalive_s: float = KEPT_OPEN_S,
    ) -> None:
        """`keepalive_s` is how long a connection that is not used stays open."""
        self._resolver = resolver
        self._guard = guard
        self._tls = tls
        self._keepalive_s = keepalive_s
        self._kept_open: OrderedDict[tuple[str, int], float] = OrderedDict()
        """Places with the time until which a connection may be open, the earliest in front."""
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """The session; for requests that are signed there is `FederationClient`."""
        if self._session is None:
            self._session = open_session(self._resolver, self._guard, self._tls, self._keepalive_s)
        return self._session

    def may_stay_open(self, host: str, port: int) -> bool:
        """Whether a connection to a place that is used now may be kept for later."""
        kept, now_s = self._kept_open, asyncio.get_running_loop().time()
        while kept and next(iter(kept.values())) <= now_s:
            kept.popitem(last=False)
        if (host, port) not in kept and len(kept) >= MAX_KEPT_OPEN:
            return False
        kept[host, port] = now_s + self._keepalive_s
        kept.move_to_end((host, port))
        return True

    async def can_connect(self, host: str, port: int) -> bool:
        """Whether anything listens there: a TCP connection, and nothing else."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                addresses = await self._resolver.addresses(host)
        except (OSError, TimeoutError):
            return False
        return any(await asyncio.gather(*(self._can_reach(one, port) for one in addresses)))

    async def _can_reach(self, address: str, port: int) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
        try:
            with self._guard.open_socket(info) as probe:
                probe.setblocking(False)
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_connect(probe, (address, port))
        except (OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
        self._resolver.close()


async def read_beginning(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body of an answer, in however many pieces it comes, as far as it is looked at."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= max_bytes:
            break
    return bytes(body[:max_bytes])


def reason_of(error: Exception) -> str:
    """Why a connection failed, for people: what the system said, not what aiohttp makes of it."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message.rstrip(".")
    if isinstance(cause, ssl.SSLError):
        return NOT_TLS if cause.reason in NOT_TLS_REASONS else str(cause)
    if isinstance(cause, socket.gaierror):
        return cause.strerror or str(cause)
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    if isinstance(cause, ConnectionError | EOFError) and not str(cause):
        return "the other side hangs up"
    return str(cause) or type(error).__name__


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
