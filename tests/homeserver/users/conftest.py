"""Servers with accounts."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.homeserver.users.server import UserServer, running_user_server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(module_database_url: str) -> AsyncIterator[UserServer]:
    """A server that the tests of a module share; each test has users of its own."""
    async with running_user_server(module_database_url) as server:
        yield server
