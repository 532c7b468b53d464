"""Other servers on loopback."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.federation.certificates import Authority, make_authority
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
