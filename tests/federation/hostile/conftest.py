"""A server of ours among others that mean well and ill."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.federation.hostile.health")

from tests.federation.certificates import Authority  # noqa: E402
from tests.federation.hostile.health import Scene, Setting  # noqa: E402


@pytest.fixture
def setting(database_url: str, tmp_path: Path, authority: Authority) -> Setting:
    """Where scenes are set."""
    return Setting(database_url, tmp_path, authority)


@pytest_asyncio.fixture
async def scene(setting: Setting) -> AsyncIterator[Scene]:
    """A room of version 11 with a hostile server in it."""
    async with setting.scene() as made:
        yield made
