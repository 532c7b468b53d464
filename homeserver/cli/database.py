"""`hearth psql`, and how other commands reach the database."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.run import make_data_dir

if TYPE_CHECKING:
    from homeserver.config.settings import Settings
    from storage.database import Pool

PSQL_CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


@asynccontextmanager
async def database_of(settings: "Settings") -> AsyncIterator[str]:
    """The URL of the server's database; a private cluster that is not running runs meanwhile."""
    from homeserver.config.cluster import private_cluster

    if settings.database.url:
        yield settings.database.url
        return
    make_data_dir(settings.server.data_dir)
    cluster = private_cluster(settings)
    await cluster.start()
    try:
        yield cluster.dsn
    finally:
        await cluster.stop()


@asynccontextmanager
async def pool_of(settings: "Settings") -> AsyncIterator["Pool"]:
    """Connections to the server's database, which gets its shape first."""
    from migrations.apply import apply_migrations
    from storage.database import connect, open_pool

    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        await apply_migrations(connection)
        await connection.close()
        pool = await open_pool(dsn, 2)
        try:
            yield pool
        finally:
            await pool.close()


def psql(context: typer.Context, config: ConfigOption = None) -> None:
    """Open the server's database in psql; further arguments are handed to psql."""
    settings = read_settings(config)
    # Ctrl-C is for psql, which has the terminal too; a handler, unlike SIG_IGN, is not inherited.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    raise typer.Exit(asyncio.run(_run_psql(settings, context.args)))


async def _run_psql(settings: "Settings", arguments: list[str]) -> int:
    async with database_of(settings) as dsn:
        command, environment = _psql_command(settings, dsn)
        return await asyncio.to_thread(subprocess.call, [*command, *arguments], env=environment)


def _psql_command(settings: "Settings", dsn: str) -> tuple[list[str], dict[str, str] | None]:
    """The command and its environment; None for our own."""
    from storage.postgres_binaries import find_binaries, psql_command

    if settings.database.url and (psql := shutil.which("psql")):
        return [psql, dsn], None
    binaries = find_binaries(settings.database.binaries)
    return psql_command(binaries, dsn), binaries.environment()
