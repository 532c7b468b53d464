"""The command line as a whole: its commands, and how it fails."""

import importlib.metadata
import sys

import typer

from homeserver.cli import (
    appservice,
    backup,
    config,
    database,
    doctor,
    federation,
    health,
    keys,
    mail,
    media,
    restore,
    run,
    upgrade,
    user,
)
from homeserver.cli.configuration import ConfigOption
from homeserver.cli.errors import CommandError

app = typer.Typer(
    name="hearth",
    help="A small, fast Matrix homeserver.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("run")(run.run)
app.add_typer(config.app, name="config")
app.add_typer(user.app, name="user")
app.add_typer(keys.app, name="keys")
app.add_typer(media.app, name="media")
app.add_typer(federation.app, name="federation")
app.add_typer(mail.app, name="mail")
app.add_typer(appservice.app, name="appservice")
app.add_typer(backup.app, name="backup")
app.command("restore")(restore.restore)
app.command("upgrade")(upgrade.upgrade)
app.command("psql", context_settings=database.PSQL_CONTEXT)(database.psql)
app.command("doctor")(doctor.doctor)


@app.command()
def version() -> None:
    """Say which version of hearth this is."""
    try:
        number = importlib.metadata.version("hearth")
    except importlib.metadata.PackageNotFoundError:
        number = "(not installed)"
    typer.echo(f"hearth {number}, Python {sys.version.split()[0]}")


@app.command(health.COMMAND)
def ask_for_health(config: ConfigOption = None) -> None:
    """Ask the server on this machine whether it works; status 1 if it does not."""
    arguments = [health.COMMAND] if config is None else [health.COMMAND, "--config", str(config)]
    raise typer.Exit(health.run(arguments))


def run_command_line() -> None:
    """Run the command that the arguments name; whatever fails ends in a sentence."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the top of the program: no operator wants a traceback
        for sentence in explain(error):
            typer.echo(f"hearth: {sentence}", err=True)
        sys.exit(1)


def explain(error: Exception) -> list[str]:
    """The sentences that tell the operator what an exception means."""
    import asyncpg

    from homeserver.appservices.registrations import RegistrationError
    from homeserver.config.keys import KeyFileError
    from homeserver.config.load import ConfigError
    from migrations.apply import MigrationError
    from storage.cluster_errors import ClusterError
    from storage.postgres_binaries import BinariesNotFound

    if isinstance(error, ConfigError | RegistrationError):
        return list(error.problems)
    plain = (CommandError, ClusterError, BinariesNotFound, KeyFileError, MigrationError, OSError)
    if isinstance(error, plain):
        return [str(error)]
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return [f"The database says: {error}."]
    return [f"This should not have happened: {type(error).__name__}: {error}"]
