"""`hearth restore`: a server from its backup."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeserver.cli.configuration import ConfigOption
from homeserver.cli.errors import CommandError
from homeserver.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from homeserver.backup.checking import Checked
    from homeserver.backup.restoring import Terms
    from homeserver.cli.finding import Finding
    from homeserver.config.settings import Settings

ENVIRONMENT_FILE = "hearth.env"


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a database that is not empty, and files that differ."
        ),
    ] = False,
    nothing_lost: Annotated[
        bool,
        typer.Option(
            "--nothing-lost",
            help="The server has not run since the backup was made, as when it moves to another "
            "machine: clients and servers may go on as if nothing had happened.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Make a server from a backup: configuration, keys, files that users sent and database.

    Without a configuration that of the backup is put where --config says. Nothing is touched
    unless the whole backup is in order. If it is interrupted, it may be run again.
    """
    from homeserver.backup.archive import ArchiveDamaged
    from homeserver.backup.checking import check_backup
    from homeserver.backup.restoring import RestoreRefused, Terms, check_versions

    try:
        with progress_bar("Checking", file.stat().st_size) as progress:
            checked = check_backup(file, progress)
        check_versions(checked.head)
        config_file = _config_file(config)
        with _settings_given(checked) as missing:
            settings = _settings_for(file, checked, config_file)
            terms = Terms(overwrite=overwrite, nothing_lost=nothing_lost)
            asyncio.run(_restore(file, checked, config_file, settings, terms))
            _keep_settings(config_file, missing)
    except (ArchiveDamaged, RestoreRefused) as error:
        raise CommandError(str(error)) from error
    typer.echo(f"{checked.head.server_name} is restored. Start it with `hearth run`.")


def _config_file(given: Path | None) -> Path:
    from homeserver.config.load import FILE_NAME, SYSTEM_FILE

    local = Path(FILE_NAME)
    if given is not None:
        return given.absolute()
    return (SYSTEM_FILE if SYSTEM_FILE.is_file() and not local.is_file() else local).absolute()


@contextmanager
def _settings_given(checked: "Checked") -> "Iterator[Mapping[str, str]]":
    """Settings that the environment gave at the time are given now too; those that were missing."""
    from homeserver.backup.restoring import settings_missing_here

    missing = settings_missing_here(checked.head)
    os.environ.update(missing)
    try:
        yield missing
    finally:
        for name in missing:
            del os.environ[name]


def _settings_for(file: Path, checked: "Checked", config_file: Path) -> "Settings":
    """The settings of the configuration that is here, or of the one that the backup has."""
    import tempfile

    from homeserver.backup.restoring import content_of
    from homeserver.config.load import load_settings
    from storage.durable import make_directory

    if config_file.is_file():
        settings = load_settings(config_file)
    else:
        make_directory(config_file.parent)
        with tempfile.NamedTemporaryFile(dir=config_file.parent, suffix=".toml") as temporary:
            temporary.write(content_of(file, checked.head.files[0]))
            temporary.flush()
            settings = load_settings(Path(temporary.name))
    if settings.server.name != checked.head.server_name:
        raise CommandError(
            f"{config_file} is for {settings.server.name}, and the backup is of "
            f"{checked.head.server_name}."
        )
    return settings


async def _restore(
    file: Path, checked: "Checked", config_file: Path, settings: "Settings", terms: "Terms"
) -> None:
    from homeserver.backup.restoring import check_database, check_space, is_under_way
    from homeserver.cli.media_checks import check_media
    from homeserver.cli.run import make_data_dir
    from storage.database import connect

    make_data_dir(settings.server.data_dir)
    if not is_under_way(settings.server.data_dir):
        check_space(checked, settings)
    async with _database_for(checked, settings, terms) as (dsn, guard):
        connection = await connect(dsn)
        try:
            await check_database(connection, overwrite=terms.overwrite)
            _check_key(file, checked, config_file, settings, overwrite=terms.overwrite)
            with guard:
                _restore_files(file, checked, config_file, settings, overwrite=terms.overwrite)
                left_out = await _restore_contents(file, checked, settings, connection, terms)
            await connection.execute("ANALYZE")
            media = await check_media(settings, connection)
        finally:
            await connection.close()
    _tell(checked, media, left_out)


@asynccontextmanager
async def _database_for(
    checked: "Checked", settings: "Settings", terms: "Terms"
) -> "AsyncIterator[tuple[str, AbstractContextManager[None]]]":
    """The URL of the database to fill, and what keeps a server from starting meanwhile.

    A present database that cannot be used here needs no such thing: it stays as it is until the new
    one has everything.
    """
    from homeserver.backup.restoring import marked
    from homeserver.cli.database import database_of
    from homeserver.config.cluster import cluster_settings
    from storage.cluster_moves import following_cluster, former_clusters, is_usable

    data_dir, cluster = settings.server.data_dir, cluster_settings(settings.database)
    if settings.database.url or is_usable(data_dir, cluster):
        async with database_of(settings) as dsn:
            yield dsn, marked(data_dir)
        return
    _check_nothing_lost(data_dir, checked, terms)
    async with following_cluster(data_dir, cluster) as dsn:
        yield dsn, nullcontext()
    typer.echo(f"The former database is kept as {former_clusters(data_dir)[-1]}.")


async def _restore_contents(
    file: Path,
    checked: "Checked",
    settings: "Settings",
    connection: "asyncpg.Connection",
    terms: "Terms",
) -> list[str]:
    """Restore files of media, then the database; the tables that were left out."""
    from homeserver.backup.contents import DATABASE
    from homeserver.backup.restoring import restore_database, restore_media
    from homeserver.building.media import build_store
    from homeserver.clock import system_clock
    from homeserver.media.incoming import Incoming

    incoming = Incoming(settings.media.directory / "incoming")
    with progress_bar("Files", checked.manifest.media_bytes) as progress:
        await restore_media(file, build_store(settings.media, incoming), incoming, progress)
    rows = sum(p.size for n, p in checked.manifest.parts.items() if n.startswith(DATABASE))
    with progress_bar("Database", rows) as progress:
        return await restore_database(file, checked, connection, system_clock, terms, progress)


def _tell(checked: "Checked", media: "Finding", left_out: list[str]) -> None:
    """Say what the operator should know of a restore that is complete."""
    from homeserver.backup.contents import INDEX
    from homeserver.cli.finding import State

    for name in left_out:
        _warn(f"the table {name} is none of hearth's, and was left out.")
    if media.state is State.FAIL:
        _warn(media.message)
    elif checked.head.media == INDEX:
        typer.echo(f"The backup has only the index of media. {media.message}")


def _check_nothing_lost(data_dir: Path, checked: "Checked", terms: "Terms") -> None:
    """Raise `CommandError` if it is said that nothing was lost, and the database was used since."""
    from storage.cluster_moves import was_used_since

    began_s, ended_s = checked.head.made_ts / 1000, checked.manifest.finished_ts / 1000
    if terms.nothing_lost and was_used_since(data_dir, began_s, ended_s):
        raise CommandError(
            "The database was used after this backup was made, so something would be lost: stop "
            "the server, then make another backup. If that cannot be, leave --nothing-lost away."
        )


def _check_key(
    file: Path, checked: "Checked", config_file: Path, settings: "Settings", *, overwrite: bool
) -> None:
    """Raise `CommandError` if the server here already is another one, by its signing key."""
    from homeserver.backup.restoring import find_differing

    place = (config_file.parent, settings.server.data_dir)
    key = settings.server.signing_key_path
    if not overwrite and key in find_differing(file, checked.head.files[1:], place):
        raise CommandError(
            f"{key} is another signing key than in the backup; move it away, or have it replaced "
            "by --overwrite."
        )


def _restore_files(
    file: Path, checked: "Checked", config_file: Path, settings: "Settings", *, overwrite: bool
) -> None:
    from homeserver.backup.restoring import Fate, content_of, restore_files
    from storage.durable import write_whole

    own_config, *others = checked.head.files
    if not config_file.is_file():
        write_whole(config_file, content_of(file, own_config))
    place = (config_file.parent, settings.server.data_dir)
    for path, fate in restore_files(file, tuple(others), place, overwrite=overwrite):
        match fate:
            case Fate.KEPT_BESIDE:
                typer.echo(f"{path} was another one; it is kept as {path.name}.before-restore.")
            case Fate.STAYS:
                _warn(f"{path} is another one than in the backup; it stays.")
            case Fate.NOT_WRITTEN:
                _warn(f"{path} cannot be written here, and is not as in the backup.")


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)


def _keep_settings(config_file: Path, missing: "Mapping[str, str]") -> None:
    """Write settings that nobody gives any more to a file, for the operator to give them again."""
    from storage.durable import write_whole

    if missing:
        lines = "".join(f"{name}={value}\n" for name, value in missing.items())
        env_file = config_file.parent / ENVIRONMENT_FILE
        write_whole(env_file, lines.encode())
        typer.echo(f"Settings came from the environment too; they are in {env_file}.")
