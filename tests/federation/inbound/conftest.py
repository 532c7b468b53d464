"""A whole server of ours, and other servers that ask it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest_asyncio

from homeserver.app import running
from tests.federation.inbound.far_server import FAR, STRANGE, FarServer
from tests.homeserver.conftest import Homes, settings_for_tests


@pytest_asyncio.fixture
async def homes(database_url: str, tmp_path: Path) -> AsyncIterator[Homes]:
    """Our server, which shows its directory to others."""
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(
        settings,
        rooms=replace(settings.rooms, directory_over_federation=True),
        federation=replace(settings.federation, enabled=True),
    )
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


@pytest_asyncio.fixture
async def far(homes: Homes) -> AsyncIterator[FarServer]:
    """A server that may ask."""
    async with aiohttp.ClientSession() as session:
        server = FarServer(FAR, homes, session)
        await server.introduce()
        yield server


@pytest_asyncio.fixture
async def stranger(homes: Homes) -> AsyncIterator[FarServer]:
    """Another one."""
    async with aiohttp.ClientSession() as session:
        server = FarServer(STRANGE, homes, session)
        await server.introduce()
        yield server
