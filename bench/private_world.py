"""Services over a private PostgreSQL that is made for one measurement."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import uvloop

from migrations.apply import apply_migrations
from storage.cluster import Cluster, ClusterSettings
from tests.homeserver.rooms.world import World, open_world

Measure = Callable[[World, asyncpg.Connection, Path], Awaitable[None]]
"""Measures with the services, a connection of its own and the directory of the database."""


def run_in_private_world(measure: Measure) -> None:
    """Measure over a database of its own."""
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        uvloop.run(_run(directory, measure))


async def _run(directory: Path, measure: Measure) -> None:
    cluster = Cluster(directory, ClusterSettings(durable=False))
    await cluster.start()
    try:
        admin = await asyncpg.connect(cluster.dsn)
        await apply_migrations(admin)
        async with open_world(cluster.dsn) as world:
            await measure(world, admin, directory)
        await admin.close()
    finally:
        await cluster.stop()
