"""`hearth config`: write a configuration, check one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeserver.cli.configuration import ConfigOption, read_settings, registrations_of
from homeserver.cli.errors import CommandError
from homeserver.cli.run import FIRST_RUN, write_config

if TYPE_CHECKING:
    from homeserver.config.settings import Settings

app = typer.Typer(help="Write or check the configuration.", no_args_is_help=True)


@app.command()
def init(
    server_name: Annotated[
        str,
        typer.Option(
            prompt="Server name (the part of user IDs after the colon)",
            help="The part of user IDs after the colon; it cannot be changed later.",
        ),
    ],
    public_url: Annotated[
        str, typer.Option(help="The URL for clients; by default https:// and the server's name.")
    ] = "",
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="FILE", help="The file to write.")
    ] = Path("hearth.toml"),
) -> None:
    """Write a configuration with every setting, its default and its explanation."""
    from federation.protocol.identifiers import is_valid_server_name

    if not is_valid_server_name(server_name):
        raise CommandError(f"{server_name!r} is not a server name, such as example.org.")
    values: dict[str, object] = {**FIRST_RUN, "server.name": server_name}
    if public_url or server_name != FIRST_RUN["server.name"]:
        values["server.public_baseurl"] = public_url or f"https://{server_name}"
    try:
        write_config(file, values)
    except FileExistsError:
        raise CommandError(f"{file} exists; remove it or name another with --file.") from None
    typer.echo(f"Wrote {file}. Look through it, then start the server with `hearth run`.")


@app.command()
def check(config: ConfigOption = None) -> None:
    """Say whether the configuration can be used, and everything that is wrong with it."""
    settings = read_settings(config)
    registrations_of(settings)
    for warning in warnings(settings):
        typer.echo(f"warning: {warning}")
    typer.echo(f"The configuration of {settings.server.name} is valid.")


def warnings(settings: "Settings") -> list[str]:
    """What is allowed and probably not meant."""
    found = []
    if settings.registration.enabled and not settings.registration.token_required:
        found.append("Anybody can register (registration.token_required is false).")
    if not settings.outgoing.verify_tls:
        found.append("Certificates of other servers are not checked (outgoing.verify_tls).")
    if not settings.limits.enabled:
        found.append("Requests are not limited (limits.enabled is false).")
    if settings.calls.livekit_url.startswith("ws://"):
        found.append("Clients reach LiveKit without encryption (calls.livekit_url).")
    missing = [
        file
        for listener in settings.listen
        for file in (listener.tls_certificate, listener.tls_key)
        if file is not None and not file.is_file()
    ]
    missing += [file for file in settings.outgoing.extra_ca_files if not file.is_file()]
    return [*found, *(f"{file} does not exist." for file in missing)]
