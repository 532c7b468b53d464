"""How a server ends when what it talks to does not answer."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest

from homeserver import app as app_module
from homeserver.app import running
from storage.database import DatabaseUnavailable
from tests.homeserver.conftest import settings_for_tests
from tests.patience import PATIENCE_S

OTHERS = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(autouse=True)
def ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "GRACE_S", 0.1)
    monkeypatch.setattr(app_module, "LEAVE_S", 0.1)


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Nothing that these processes do is done."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def backends(database_url: str) -> list[int]:
    """The processes of PostgreSQL that serve the connections to a database."""
    connection = await asyncpg.connect(database_url)
    try:
        return [row["pid"] for row in await connection.fetch(OTHERS)]
    finally:
        await connection.close()


async def test_a_server_ends_although_postgresql_does_not_answer(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    with ExitStack() as freezing:
        async with (
            asyncio.timeout(PATIENCE_S),
            running(settings) as server,
        ):
            freezing.enter_context(frozen(await backends(database_url)))
            unheard = server.services.committer.submit()
    with pytest.raises(DatabaseUnavailable):
        unheard.result()
    assert not server.failed.is_set()
