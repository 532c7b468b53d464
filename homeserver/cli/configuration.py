"""The option that names the configuration, and reading it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from homeserver.appservices.registrations import Registration
    from homeserver.config.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="HEARTH_CONFIG",
        metavar="FILE",
        help="The configuration file; by default hearth.toml here or in /etc/hearth.",
    ),
]


def read_settings(given: Path | None) -> "Settings":
    """The checked settings of the file that applies. Raises `ConfigError`."""
    from homeserver.config.load import find_config_file, load_settings

    return load_settings(find_config_file(given))


def registrations_of(settings: "Settings") -> "tuple[Registration, ...]":
    """The application services as configured. Raises `RegistrationError`."""
    from federation.protocol.identifiers import ServerName
    from homeserver.appservices.registrations import load_registrations

    return load_registrations(settings.appservices.files, ServerName(settings.server.name))
