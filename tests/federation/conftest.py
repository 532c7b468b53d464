"""Other servers on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority, make_authority
from tests.federation.played import PlayedServer, played_server
from tests.federation.sides import Side, side
from tests.federation.world import Network, network


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that everybody trusts."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture
async def net(authority: Authority) -> AsyncIterator[Network]:
    """An internet of its own for the test."""
    async with network(authority) as made:
        yield made


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For the test's own requests."""
    async with aiohttp.ClientSession() as made:
        yield made


@pytest_asyncio.fixture
async def home(
    cluster: Cluster, authority: Authority, tmp_path: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Side]:
    """A whole server of ours."""
    async with side(cluster, authority, tmp_path / "home", session) as made:
        yield made


@pytest_asyncio.fixture
async def played(
    authority: Authority, session: aiohttp.ClientSession
) -> AsyncIterator[PlayedServer]:
    """A server that the test plays."""
    async with played_server(authority, session) as made:
        yield made


@pytest_asyncio.fixture
async def other_played(
    authority: Authority, session: aiohttp.ClientSession
) -> AsyncIterator[PlayedServer]:
    """Another one."""
    async with played_server(authority, session) as made:
        yield made
