"""A server that sends to others."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.homeserver.other_servers.sending_world import SendingWorld, open_sending_world


@pytest_asyncio.fixture
async def us(database_url: str) -> AsyncIterator[SendingWorld]:
    """Our server; nothing is sent yet."""
    async with open_sending_world(database_url) as made:
        yield made
