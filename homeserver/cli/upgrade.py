"""`hearth upgrade`: what the installed version will do to this server, before it does."""

import asyncio
from typing import Annotated

import typer

from homeserver.cli.configuration import ConfigOption
from homeserver.cli.doctor import mark
from homeserver.cli.errors import CommandError

WILL_CHANGE = 3
"""The status of a check that found changes to make and nothing in their way."""


def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what would happen; changes nothing.")
    ] = False,
    postgres: Annotated[
        bool,
        typer.Option(
            "--postgres",
            help="Move the private database to the newest PostgreSQL that is here.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Bring the database to the shape of the installed version, as `hearth run` does at its start.

    With --check it ends with status 0 if there is nothing to do, 3 if the database will be changed
    and nothing is in the way, and 1 if something has to be mended first.

    With --postgres the server has to be stopped. The present database stays as it is until the new
    one is complete, and is kept then; if it is interrupted, it may be run again.
    """
    if postgres and not check:
        from homeserver.backup.archive import ArchiveDamaged
        from homeserver.backup.making import BackupFailed
        from homeserver.backup.restoring import RestoreRefused
        from homeserver.cli.postgres_upgrade import move_to_newest

        try:
            asyncio.run(move_to_newest(config))
        except (ArchiveDamaged, BackupFailed, RestoreRefused) as error:
            raise CommandError(str(error)) from error
        return
    from homeserver.cli.finding import State
    from homeserver.cli.upgrade_checks import look_ahead

    found = asyncio.run(look_ahead(config))
    width = max(len(finding.subject) for finding in found.findings)
    for finding in found.findings:
        typer.echo(f"{mark(finding)} {finding.subject:<{width}}  {finding.message}")
    if any(finding.state is State.FAIL for finding in found.findings):
        raise typer.Exit(1)
    if check:
        raise typer.Exit(WILL_CHANGE if found.pending else 0)
    if found.pending:
        asyncio.run(_migrate(config))


async def _migrate(config: ConfigOption) -> None:
    from homeserver.cli.configuration import read_settings
    from homeserver.cli.database import database_of
    from migrations.apply import apply_migrations
    from storage.database import connect

    async with database_of(read_settings(config)) as dsn:
        connection = await connect(dsn)
        try:
            for name in await apply_migrations(connection):
                typer.echo(f"Applied {name}.")
        finally:
            await connection.close()
