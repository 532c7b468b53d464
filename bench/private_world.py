"""Services over a private PostgreSQL that is made for one measurement."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import uvloop

from bench.private_database import private_database, private_directory
from tests.homeserver.rooms.world import World, open_world

Measure = Callable[[World, asyncpg.Connection, Path], Awaitable[None]]
"""Measures with the services, a connection of its own and the directory of the database."""


def run_in_private_world(measure: Measure) -> None:
    """Measure over a database of its own."""
    with private_directory() as directory:
        uvloop.run(_run(directory, measure))


async def _run(directory: Path, measure: Measure) -> None:
    async with private_database(directory) as url, open_world(url) as world:
        admin = await asyncpg.connect(url)
        await measure(world, admin, directory)
        await admin.close()
