"""`hearth upgrade --postgres`: the private database moves to the newest PostgreSQL that is here.

Both have to be here, the one that made the database and the newer one. Everything goes through a
backup of the database in a file, which is checked before the new database is made of it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from homeserver.cli.configuration import read_settings
from homeserver.cli.errors import CommandError
from homeserver.cli.progress import progress_bar

if TYPE_CHECKING:
    import asyncpg

    from homeserver.backup.checking import Checked
    from homeserver.config.settings import Settings

SPARE_BYTES = 64 << 20
"""What an empty cluster takes on the disk, and some more."""


async def move_to_newest(config: Path | None) -> None:
    """Make a new cluster of all that the present one has, which then follows it."""
    from homeserver.config.load import find_config_file
    from storage.cluster_moves import former_clusters, present_major
    from storage.postgres_binaries import find_binaries

    settings = read_settings(config)
    data_dir = settings.server.data_dir
    if settings.database.url:
        raise CommandError(
            "database.url names a PostgreSQL that is not hearth's own; upgrade it as its manual "
            "says."
        )
    major = present_major(data_dir)
    if major is None:
        raise CommandError("There is no database yet; the first start makes it.")
    find_binaries(settings.database.binaries, major)
    newest = find_binaries(settings.database.binaries).major
    if newest <= major:
        typer.echo(f"PostgreSQL {major} of the database is the newest one here: nothing to do.")
        return
    copy = data_dir / "postgres" / "upgrade.tar"
    try:
        await _copy_out(settings, find_config_file(config), copy)
        await _copy_in(settings, copy, _checked(copy))
    finally:
        copy.unlink(missing_ok=True)
    former = former_clusters(data_dir)[-1]
    typer.echo(f"The database is one of PostgreSQL {newest} now, before of {major}.")
    typer.echo(f"The former one is kept as {former}; delete it when all is well.")


async def _copy_out(settings: "Settings", config_file: Path, copy: Path) -> None:
    from homeserver.backup.contents import INDEX
    from homeserver.backup.making import Backup, Source, measure
    from homeserver.backup.target import written
    from homeserver.building.media import build_store
    from homeserver.clock import system_clock
    from homeserver.media.incoming import Incoming

    async with _database_to_ourselves(settings) as connection:
        store = build_store(settings.media, Incoming(settings.media.directory / "incoming"))
        source = Source(settings, config_file, connection, store, system_clock, INDEX)
        extent = await measure(source)
        await check_space(connection, copy.parent, extent.tables)
        with progress_bar("Copying out", extent.tables) as progress, written(copy) as file:
            await Backup(source, file.write, progress).make()


@asynccontextmanager
async def _database_to_ourselves(settings: "Settings") -> "AsyncIterator[asyncpg.Connection]":
    """A connection while no server runs; one that is started now waits."""
    from homeserver.cli.database import database_of
    from migrations.apply import LOCK
    from storage.database import connect
    from storage.table_copies import count_servers

    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        try:
            # A server takes this lock before anything else.
            is_alone = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
            if not is_alone or await count_servers(connection):
                raise CommandError("A server runs over this database; stop it first.")
            yield connection
        finally:
            await connection.close()


async def check_space(connection: "asyncpg.Connection", directory: Path, tables: int) -> None:
    """There is room for the copy, which is smaller than the rows, and for a second database."""
    import shutil

    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    needed, free = size + tables + SPARE_BYTES, shutil.disk_usage(directory).free
    if free < needed:
        raise CommandError(
            f"{directory} has {free >> 20} MiB left, and up to {needed >> 20} MiB are needed for a "
            "second database beside the present one; make room."
        )


def _checked(copy: Path) -> "Checked":
    from homeserver.backup.checking import check_backup

    with progress_bar("Checking", copy.stat().st_size) as progress:
        return check_backup(copy, progress)


async def _copy_in(settings: "Settings", copy: Path, checked: "Checked") -> None:
    from homeserver.backup.contents import DATABASE
    from homeserver.backup.restoring import Terms, restore_database
    from homeserver.clock import system_clock
    from homeserver.config.cluster import cluster_settings
    from storage.cluster_moves import following_cluster
    from storage.database import connect

    rows = sum(p.size for n, p in checked.manifest.parts.items() if n.startswith(DATABASE))
    terms = Terms(overwrite=False, nothing_lost=True)
    cluster = cluster_settings(settings.database)
    async with following_cluster(settings.server.data_dir, cluster) as dsn:
        connection = await connect(dsn)
        try:
            with progress_bar("Copying in", rows) as progress:
                await restore_database(copy, checked, connection, system_clock, terms, progress)
            await connection.execute("ANALYZE")
        finally:
            await connection.close()
