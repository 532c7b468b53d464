"""`hearth mail`: try out the mail server."""

import asyncio
from typing import Annotated

import typer

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.errors import CommandError

app = typer.Typer(help="Try out the mail server.", no_args_is_help=True)


@app.callback()
def mail() -> None:
    """Try out the mail server."""


@app.command("test")
def send_test(
    address: Annotated[str, typer.Argument(help="Where the mail goes to.")],
    config: ConfigOption = None,
) -> None:
    """Send a mail by the configured mail server."""
    from homeserver.config.settings import Settings
    from homeserver.mail.mailer import MailNotSent, build_mailer

    settings: Settings = read_settings(config)
    if not settings.mail.host:
        raise CommandError("No mail server is configured; set mail.host.")
    try:
        asyncio.run(build_mailer(settings).send(address, "test", {}))
    except MailNotSent as error:
        raise CommandError(f"The mail was not sent: {error.reason}.") from error
    typer.echo(f"{settings.mail.host} has taken a mail to {address}.")
