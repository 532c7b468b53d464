"""Whole servers, each over a database of its own, that speak over TLS on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from homeserver.app import running
from homeserver.config.sections.server import Listener
from homeserver.config.settings import Settings
from storage.cluster import Cluster
from tests.conftest import TEMPLATE, fresh_database
from tests.federation.certificates import Authority
from tests.federation.world import free_address
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.patience import PATIENCE_S
from tests.ports import free_port


@dataclass
class Side:
    """One of the servers, which may be stopped and started."""

    settings: Settings
    session: aiohttp.ClientSession
    homes: Homes | None = None
    _stack: AsyncExitStack | None = None

    @property
    def name(self) -> str:
        return self.settings.server.name

    async def start(self) -> None:
        self._stack = AsyncExitStack()
        server = await self._stack.enter_async_context(running(self.settings))
        self.homes = Homes(server, self.session)

    async def stop(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None

    async def user(self, localpart: str) -> Client:
        assert self.homes is not None
        return await self.homes.user(localpart)

    def client(self) -> Client:
        """A client that is not logged in."""
        assert self.homes is not None
        return self.homes.nobody()

    def again(self, client: Client) -> Client:
        """The same session after a restart."""
        assert self.homes is not None
        other = self.homes.nobody()
        other.token, other.user_id, other.device_id = (
            client.token,
            client.user_id,
            client.device_id,
        )
        return other


@asynccontextmanager
async def side(
    cluster: Cluster,
    authority: Authority,
    directory: Path,
    session: aiohttp.ClientSession,
    *,
    inner_port: int | None = None,
    **federation: Any,
) -> AsyncIterator[Side]:
    """A server; with `inner_port` it listens there, and not at the port that its name says.

    `federation` are settings of that section.
    """
    address, port = free_address(), free_port()
    certificate, key = authority.issue(address)
    directory.mkdir()
    async for url in fresh_database(cluster, TEMPLATE):
        settings = settings_for_tests(url, directory)
        made = Side(
            replace(
                settings,
                server=replace(settings.server, name=f"{address}:{port}"),
                listen=(
                    *settings.listen,
                    Listener(
                        address=address,
                        port=inner_port or port,
                        tls_certificate=certificate,
                        tls_key=key,
                        serves=("federation",),
                    ),
                ),
                federation=replace(
                    settings.federation, enabled=True, trusted_key_servers=(), **federation
                ),
                outgoing=replace(
                    settings.outgoing,
                    allow_ip_ranges=("127.0.0.0/8",),
                    extra_ca_files=(authority.certificate,),
                ),
            ),
            session,
        )
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


async def until(client: Client, find: Callable[[Any], Any]) -> Any:
    """What `find` finds in the client's syncs."""
    since: str | None = None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.sync(since, timeout_ms=5_000, filter=WHOLE)
            found = find(answer)
            if found:
                return found
            since = answer["next_batch"]


WHOLE = '{"room": {"timeline": {"limit": 500}}}'


def room_of(answer: Any, room_id: str) -> Any:
    return answer.get("rooms", {}).get("join", {}).get(room_id, {})
