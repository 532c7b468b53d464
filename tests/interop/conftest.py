"""hearth and Synapse side by side, and a user at each."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority, make_authority
from tests.homeserver.conftest import Client
from tests.interop.homeservers import Hearth, Process, Synapse
from tests.interop.inbox import Inbox

NO_SYNAPSE = (
    "needs a Synapse and a few minutes: `make interop` installs the one and takes the other"
)


def pytest_pycollect_makemodule() -> None:
    """Skip the whole directory, in one line, unless Synapse is named."""
    if not synapse_python():
        pytest.skip(NO_SYNAPSE, allow_module_level=True)


def synapse_python() -> str:
    """The Python that has Synapse."""
    return os.environ.get("SYNAPSE_PYTHON", "")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that both trust, new in each run."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@dataclass(frozen=True)
class Pair:
    """The two servers."""

    hearth: Hearth
    synapse: Synapse

    def named(self, which: str) -> Process:
        """One of the two."""
        return self.hearth if which == "hearth" else self.synapse

    def other_than(self, server: Process) -> Process:
        """The other one."""
        return self.synapse if server is self.hearth else self.hearth


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(
    cluster: Cluster,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Pair]:
    """Both servers, running; the tests of a module share them."""
    directory = tmp_path_factory.mktemp("interop")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        urls = [await new_database(cluster, stack) for _ in range(2)]
        hearth = Hearth(directory / "hearth", urls[0], authority, session)
        synapse = Synapse(directory / "synapse", urls[1], authority, session, synapse_python())
        for server in (hearth, synapse):
            await server.relay.open()
            stack.push_async_callback(server.relay.close)
            stack.push_async_callback(server.stop)
        await asyncio.gather(hearth.start(), synapse.start())
        yield Pair(hearth, synapse)


async def new_database(cluster: Cluster, stack: AsyncExitStack) -> str:
    """The URL of an empty database with the locale that Synapse insists on; dropped at the end."""
    name = f"interop_{secrets.token_hex(8)}"
    admin = await asyncpg.connect(cluster.dsn)
    stack.push_async_callback(admin.close)
    locale = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {locale}")
    stack.push_async_callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
    return cluster.dsn.replace("@/hearth?", f"@/{name}?")


@dataclass(frozen=True)
class Cast:
    """Alice at the server that makes the rooms, and Bob at the other one."""

    host: Process
    guest: Process
    alice: Client
    bob: Client
    alices: Inbox
    bobs: Inbox

    def inbox_on(self, which: str) -> Inbox:
        """What the user at one of the two is shown."""
        return self.alices if self.host.kind == which else self.bobs


def only_where(host: str) -> pytest.MarkDecorator:
    """Have a test run in one direction alone: with rooms that this server makes."""
    return pytest.mark.parametrize("cast", [host], indirect=True, ids="{}-hosts".format)


@pytest_asyncio.fixture(loop_scope="session", params=["hearth", "synapse"], ids="{}-hosts".format)
async def cast(pair: Pair, request: pytest.FixtureRequest) -> Cast:
    """New users for each test, in both directions."""
    host = pair.named(request.param)
    guest = pair.other_than(host)
    alice, bob = await host.user("alice"), await guest.user("bob")
    return Cast(host, guest, alice, bob, Inbox(alice), Inbox(bob))
