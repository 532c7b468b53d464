"""`hearth run`: check and prepare everything, then become the server."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from homeserver.cli.configuration import ConfigOption, registrations_of
from homeserver.cli.errors import CommandError

if TYPE_CHECKING:
    from homeserver.config.settings import Settings

FIRST_RUN = {
    "server.name": "localhost",
    "server.public_baseurl": "http://127.0.0.1:8008",
    "listen.address": "127.0.0.1",
    "listen.port": 8008,
}
"""What the configuration says that the first run writes: a server to try, on this machine."""

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}
"""Makes glibc give memory back after a burst, which halves what a server holds under load. It
reads these before the first line of Python runs."""

PYTHON_OPTIONS = ("-P", "-X", "no_debug_ranges")
"""-P: a directory that happens to hold a `storage` or `migrations` must not be imported from.
no_debug_ranges: tracebacks without columns, for 400 KB."""


def run(config: ConfigOption = None) -> None:
    """Run the server, until Ctrl-C or SIGTERM.

    The first run writes a configuration for a server on this machine and makes its signing key;
    a private PostgreSQL is started and stopped with the server unless database.url names another.
    """
    from homeserver.config.load import load_settings

    path, is_new = config_file(config)
    settings = load_settings(path)
    prepare(settings)
    typer.echo(greeting(settings, path, is_new=is_new))
    become_server(settings)


def config_file(given: Path | None) -> tuple[Path, bool]:
    """The file to read, and whether it was made just now because there was none."""
    from homeserver.config.load import FILE_NAME, SYSTEM_FILE, find_config_file

    path = Path(FILE_NAME)
    if given is not None or path.is_file() or SYSTEM_FILE.is_file():
        return find_config_file(given), False
    write_config(path, FIRST_RUN)
    return path, True


def write_config(path: Path, values: dict[str, object]) -> None:
    """Write a new commented configuration, which only its owner can read: it may get secrets.

    Raises `FileExistsError`.
    """
    from homeserver.config.describe import render_file

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as written:
        written.write(render_file(values))


def prepare(settings: "Settings") -> None:
    """Make what is missing of data directory and signing key; read the key and registrations."""
    from homeserver.backup.restoring import is_under_way
    from homeserver.config.keys import create_signing_key, load_signing_keys

    make_data_dir(settings.server.data_dir)
    if is_under_way(settings.server.data_dir):
        raise CommandError("A restore was interrupted here; run `hearth restore` again.")
    create_signing_key(settings.server.signing_key_path)
    load_signing_keys(settings.server.signing_key_path)
    registrations_of(settings)


def make_data_dir(path: Path) -> None:
    """Make the data directory, closed to others, unless it is there."""
    from storage.durable import make_directory

    # PostgreSQL's unprivileged user has to pass where the server runs as root.
    make_directory(path, 0o711 if os.geteuid() == 0 else 0o700)


def greeting(settings: "Settings", path: Path, *, is_new: bool) -> str:
    """What the operator may want to do next."""
    server = settings.server
    command = shown_command()
    return "\n".join(
        [
            f"hearth starts the server {server.name} for clients at {server.public_baseurl}",
            f"  configuration  {path.absolute()}{' (new)' if is_new else ''}",
            f"  data           {server.data_dir}",
            f"  add a user     {command} user add NAME --admin",
            f"  if it fails    {command} doctor",
            "  stop           Ctrl-C",
        ]
    )


def shown_command() -> str:
    """The command that started us, as it can be typed again."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{Path(sys.executable).name} -m homeserver"
    if started.is_absolute() and started.is_relative_to(Path.cwd()):
        return str(started.relative_to(Path.cwd()))
    return str(started)


def become_server(settings: "Settings") -> NoReturn:
    """Replace this process by one that holds nothing but the server."""
    from homeserver.config.handover import SERVE, hand_over

    sys.stdout.flush()
    serve = [sys.executable, *PYTHON_OPTIONS, "-m", "homeserver", SERVE]
    command = [*serve, str(hand_over(settings))]
    os.execve(sys.executable, command, server_environment())  # noqa: S606 - no shell is wanted


def server_environment() -> dict[str, str]:
    """Our environment, with the allocator's settings and the way to our own packages."""
    home = Path(__file__).parents[2]
    inherited = os.environ.get("PYTHONPATH")
    path = {"PYTHONPATH": f"{home}:{inherited}" if inherited else str(home)}
    # An installed program finds itself; one that runs from its source may not.
    is_installed = home.name in {"site-packages", "dist-packages"}
    return {**ALLOCATOR, **os.environ, **({} if is_installed else path)}
