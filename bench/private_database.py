"""A directory and a PostgreSQL that are made for one measurement."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from migrations.apply import apply_migrations
from storage.cluster import Cluster, ClusterSettings


@contextmanager
def private_directory() -> Iterator[Path]:
    """A directory that PostgreSQL's user can pass, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@asynccontextmanager
async def private_database(directory: Path, *, durable: bool = False) -> AsyncIterator[str]:
    """The address of a database with hearth's tables, of a PostgreSQL that runs for the block."""
    cluster = Cluster(directory / "postgres", ClusterSettings(durable=durable))
    await cluster.start()
    try:
        admin = await asyncpg.connect(cluster.dsn)
        await apply_migrations(admin)
        await admin.close()
        yield cluster.dsn
    finally:
        await cluster.stop()
