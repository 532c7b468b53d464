"""`hearth doctor`: look at all that a server stands on, and say how to mend what is wrong."""

import asyncio
import sys
from typing import TYPE_CHECKING

import typer

from homeserver.cli.configuration import ConfigOption

if TYPE_CHECKING:
    from homeserver.cli.checks import Finding


def doctor(config: ConfigOption = None) -> None:
    """Find out what is wrong with this server, and how to mend it.

    Looks at the configuration, permissions, disk, database, media, ports, mail, calls, clock,
    DNS, well-known files and certificates. Ends with status 1 if something fails.
    """
    findings = asyncio.run(examine(config))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        typer.echo(f"{mark(finding)} {finding.subject:<{width}}  {finding.message}")
    failures = sum(finding.state.value == "fail" for finding in findings)
    if failures:
        raise typer.Exit(1)


async def examine(config: ConfigOption) -> "list[Finding]":
    """All findings; where the configuration cannot be read, only that."""
    from homeserver.cli.checks import Finding, State, check_everything
    from homeserver.config.load import ConfigError, find_config_file, load_settings

    try:
        path = find_config_file(config)
        settings = load_settings(path)
    except ConfigError as error:
        return [Finding("configuration", State.FAIL, problem) for problem in error.problems]
    return await check_everything(settings, path)


def mark(finding: "Finding") -> str:
    """The finding's state as a coloured word."""
    colour = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
    word = f"{finding.state.value:<4}"
    return typer.style(word, fg=colour[finding.state.value]) if sys.stdout.isatty() else word
