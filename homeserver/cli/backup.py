"""`hearth backup`: everything that a server is, in one file; and whether such a file is whole."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.errors import CommandError
from homeserver.cli.media import in_units
from homeserver.cli.progress import progress_bar

if TYPE_CHECKING:
    from homeserver.backup.making import Source
    from homeserver.config.settings import Settings
    from storage.backups import LastBackup

CREATE = "create"
STANDARD_OUTPUT = Path("-")
ONLY_INDEX = "only the index, no files"


class CreatesByDefault(TyperGroup):
    """`hearth backup FILE` is `hearth backup create FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front where none is given."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [CREATE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=CreatesByDefault,
    help="Back up everything into one file: `hearth backup FILE`.",
    no_args_is_help=True,
)


@app.command(CREATE)
def create(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The file to write, a directory to add one to (a name that ends with / is one, "
            "which is made if it is not there), or - for a pipe.",
        ),
    ],
    media: Annotated[
        Literal["all", "index"] | None,
        typer.Option(
            "--media",
            help="all: with the files that users sent. index: only with what the database knows "
            "of them; the files are yours to keep. By default all if they are kept in a directory, "
            "index if in a bucket.",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="Delete all but so many backups of a directory."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Back up the database, the signing keys, the configuration and the files that users sent.

    The server may run meanwhile. Whoever has the file has all of the server's secrets.
    """
    from homeserver.backup.making import BackupFailed
    from homeserver.backup.target import rotate
    from homeserver.config.load import find_config_file

    settings = read_settings(config)
    target = Path(file)
    if file.endswith("/"):
        _make_directory(target)
    if keep is not None and not target.is_dir():
        raise CommandError("--keep is for a directory, which gets a new backup each time.")
    chosen = media or ("index" if settings.media.s3.bucket else "all")
    config_file = find_config_file(config)
    try:
        path = _file_of(target, settings.server.name)
        asyncio.run(_create(settings, config_file, path, chosen))
    except BackupFailed as error:
        raise CommandError(str(error)) from error
    for old in rotate(target, settings.server.name, keep) if keep is not None else ():
        typer.echo(f"Deleted {old}.")


def _make_directory(directory: Path) -> None:
    """A directory for backups, unless it is there: in a container nothing else could make it."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{directory} cannot be made: {error.strerror}.") from error


def _file_of(target: Path, server_name: str) -> Path:
    """The file to write; in a directory, what killed backups have left goes first."""
    from homeserver.backup.target import name_in_directory, remove_abandoned
    from homeserver.clock import system_clock

    if not target.is_dir():
        return target
    remove_abandoned(target, server_name)
    return name_in_directory(target, server_name, system_clock())


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
) -> None:
    """Say whether a backup is whole, and what it is of. Ends with status 1 if it is damaged."""
    from homeserver.backup.archive import ArchiveDamaged
    from homeserver.backup.checking import check_backup

    try:
        with progress_bar("Reading", file.stat().st_size) as progress:
            checked = check_backup(file, progress)
    except ArchiveDamaged as error:
        raise CommandError(str(error)) from error
    head, manifest = checked.head, checked.manifest
    made = datetime.fromtimestamp(head.made_ts / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows = sum(part.rows or 0 for part in manifest.parts.values())
    typer.echo(f"It is whole: {head.server_name}, {made}, made by hearth {head.hearth}.")
    shape = f"migration {len(head.migrations)}, from PostgreSQL {head.postgres}"
    typer.echo(f"  database   {rows} rows, {shape}")
    files = f"{manifest.media_files} files, {in_units(manifest.media_bytes)}"
    typer.echo(f"  media      {files if head.media == 'all' else ONLY_INDEX}")
    typer.echo(f"  files      {', '.join(Path(kept.path).name for kept in head.files)}")
    _warn_of_missing(manifest.media_missing)


async def _create(settings: "Settings", config_file: Path, path: Path, media: str) -> None:
    from homeserver.backup.making import Source
    from homeserver.building.media import build_store
    from homeserver.cli.database import database_of
    from homeserver.clock import system_clock
    from homeserver.media.incoming import Incoming
    from storage.backups import note_backup
    from storage.database import connect

    incoming = Incoming(settings.media.directory / "incoming")
    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        try:
            store = build_store(settings.media, incoming)
            source = Source(settings, config_file, connection, store, system_clock, media)
            await note_backup(connection, await _write(source, path))
        finally:
            await connection.close()


async def _write(source: "Source", path: Path) -> "LastBackup":
    from homeserver.backup.contents import INDEX
    from homeserver.backup.making import Backup, measure
    from homeserver.backup.target import check_space, written

    extent = await measure(source)
    with progress_bar("Backing up", extent.tables + extent.media) as progress:
        if path == STANDARD_OUTPUT:
            backup = Backup(source, sys.stdout.buffer.write, progress)
            done = await backup.make()
            sys.stdout.buffer.flush()
            return done
        check_space(path.parent, extent)
        with written(path) as file:
            backup = Backup(source, file.write, progress)
            done = await backup.make()
    left_out = f"; of media {ONLY_INDEX}" if done.media == INDEX else ""
    typer.echo(f"Wrote {path}, {in_units(done.size)}{left_out}.")
    _warn_of_missing(backup.manifest.media_missing)
    return done


def _warn_of_missing(keys: list[str]) -> None:
    if keys:
        typer.echo(
            f"warning: {len(keys)} files were not in the store (`hearth media check`).", err=True
        )
