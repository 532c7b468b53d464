"""One private PostgreSQL for a test run, and a fresh database for each test that asks for one.

The workers of pytest-xdist share the cluster by the same locks that let servers share one: each
joins it, the last to leave stops it. Migrations run once; every database is a copy of the result.
"""

import asyncio
import fcntl
import functools
import inspect
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

from migrations.apply import apply_migrations
from storage.cluster import Cluster, ClusterSettings
from tests.patience import LONGEST_TEST_S

AsyncTest = Callable[..., Awaitable[None]]

DIRECTORY_VARIABLE = "HEARTH_TEST_CLUSTER"
TEMPLATE = "migrated"
MEMORY = Path("/dev/shm")
"""A file system in memory: a database is copied there in a twentieth of the time."""
MEMORY_NEEDED = 2**30
made_here: list[Path] = []

# How long an example takes says nothing where others compute beside. Where changes are checked
# (`CI`), the same is tried each time; elsewhere there is always something new.
hypothesis.settings.register_profile(
    "hearth",
    hypothesis.settings.get_profile("ci" if "CI" in os.environ else "default"),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("hearth")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the directory of this run's cluster; workers inherit it in their environment."""
    if hasattr(config, "workerinput"):
        return
    directory = Path(tempfile.mkdtemp(prefix="hearth-test-", dir=fast_directory()))
    directory.chmod(0o755)
    made_here.append(directory)
    os.environ[DIRECTORY_VARIABLE] = str(directory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each test that waits for something end some day."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = limited(item.obj, LONGEST_TEST_S)


def limited(test: AsyncTest, seconds: float) -> AsyncTest:
    """The test, which fails when it takes longer."""

    @functools.wraps(test)
    async def within(*args: Any, **named: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **named)

    return within


def fast_directory() -> Path | None:
    """Where files need no disk; None where there is no such place, or too little of it."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MEMORY_NEEDED:
        return None
    return MEMORY


def pytest_unconfigure() -> None:
    """Remove what the run has left; the workers have ended before."""
    while made_here:
        shutil.rmtree(made_here.pop(), ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def jobs_wait() -> Iterator[None]:
    """Jobs are run by the tests of them: by themselves they would at random, in any other test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homeserver.building.services.first_wait_s", lambda job, chance: 1_000_000)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """The run's PostgreSQL, which forgets durability for speed."""
    directory = Path(os.environ[DIRECTORY_VARIABLE])
    shared = Cluster(directory, ClusterSettings(max_connections=500, durable=False))
    await shared.start()
    await prepare_template(shared.dsn, directory)
    yield shared
    await shared.stop()


async def prepare_template(dsn: str, directory: Path) -> None:
    """Make the migrated database that others are copied from, unless a worker has done it."""
    with (directory / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        admin = await asyncpg.connect(dsn)
        try:
            if await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
                return
            await admin.execute("CREATE DATABASE migrating")
            connection = await asyncpg.connect(dsn, database="migrating")
            await apply_migrations(connection)
            await connection.close()
            await admin.execute(f"ALTER DATABASE migrating RENAME TO {TEMPLATE}")
        finally:
            await admin.close()


async def fresh_database(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """The URL of a copy of `template`; dropped afterwards, with whoever is still connected."""
    name = f"test_{secrets.token_hex(8)}"
    admin = await asyncpg.connect(cluster.dsn)
    try:
        # Copying files is faster than writing every page to the journal, which is the default.
        strategy = "STRATEGY FILE_COPY" if admin.get_server_version().major >= 15 else ""
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")
        yield cluster.dsn.replace("@/hearth?", f"@/{name}?")
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(cluster: Cluster) -> AsyncIterator[str]:
    """A migrated database without a row, for this test alone."""
    async for url in fresh_database(cluster, TEMPLATE):
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_database_url(cluster: Cluster) -> AsyncIterator[str]:
    """A migrated database that the tests of one module share."""
    async for url in fresh_database(cluster, TEMPLATE):
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def unmigrated_database_url(cluster: Cluster) -> AsyncIterator[str]:
    """A database without a table, for this test alone."""
    async for url in fresh_database(cluster, "template1"):
        yield url
