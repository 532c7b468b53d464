"""`hearth federation`: look at other servers as this one sees them."""

import asyncio
from typing import Annotated

import typer

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.doctor import mark

app = typer.Typer(help="Look at other servers.", no_args_is_help=True)


@app.callback()
def federation() -> None:
    """Look at other servers."""


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A server name, for instance matrix.org.")],
    config: ConfigOption = None,
) -> None:
    """Say how a server is found, which certificate and keys it shows, and how fast it answers.

    It may be this server too, as others see it from this machine. Ends with status 1 if the
    server cannot be used.
    """
    from homeserver.cli.federation_checks import check_server

    findings = asyncio.run(check_server(read_settings(config), name))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        typer.echo(f"{mark(finding)} {finding.subject:<{width}}  {finding.message}")
    if any(finding.state.value == "fail" for finding in findings):
        raise typer.Exit(1)
