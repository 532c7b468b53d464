"""A bridge, and a server that works with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, bridged


@pytest_asyncio.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """A bridge that listens and is told everything."""
    fields = {"receive_ephemeral": True, "protocols": ["irc"]}
    async with Bridge(fields=fields).running() as running:
        yield running


@pytest_asyncio.fixture
async def homes(database_url: str, tmp_path: Path, bridge: Bridge) -> AsyncIterator[BridgedHomes]:
    """A server with the bridge."""
    async with bridged(database_url, tmp_path, bridge) as running:
        yield running
