"""`hearth user`: look after accounts, whether the server runs or not."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.errors import CommandError

if TYPE_CHECKING:
    from homeserver.cli.accounts import AccountDesk
    from storage.accounts import Account

T = TypeVar("T")

PAGE = 1000

app = typer.Typer(help="Look after accounts.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A user name, as alice or @alice:example.org.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        allow_dash=True,
        help="Read the password from a file, or from standard input for -, instead of asking.",
    ),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The new user's name, for instance alice.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="Make them a server administrator.")
    ] = False,
    password_file: PasswordFile = None,
    config: ConfigOption = None,
) -> None:
    """Make an account."""
    password = read_password(password_file)

    async def make(desk: "AccountDesk") -> str:
        user_id = desk.user_id(name)
        localpart = user_id[1:].partition(":")[0]
        made = await desk.accounts.create_user(localpart, password, admin=admin)
        return made.user_id

    user_id = at_the_desk(config, make)
    typer.echo(f"Made {user_id}{', a server administrator' if admin else ''}.")


@app.command()
def password(name: Name, password_file: PasswordFile = None, config: ConfigOption = None) -> None:
    """Give an account a new password; its devices stay logged in."""
    new_password = read_password(password_file)

    async def change(desk: "AccountDesk") -> str:
        user_id = desk.user_id(name)
        await desk.accounts.set_password(user_id, new_password)
        return user_id

    typer.echo(f"{at_the_desk(config, change)} has a new password.")


@app.command("list")
def list_users(
    deactivated: Annotated[
        bool, typer.Option("--deactivated", help="Show accounts that were deactivated too.")
    ] = False,
    guests: Annotated[bool, typer.Option("--guests", help="Show guests too.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the accounts of this server, one a line: user ID and what is special about it."""

    async def collect(desk: "AccountDesk") -> "list[Account]":
        found: list[Account] = []
        while page := await desk.accounts.list_users(found[-1].user_id if found else "", PAGE):
            found += page
        return found

    for account in at_the_desk(config, collect):
        if (account.is_deactivated and not deactivated) or (account.is_guest and not guests):
            continue
        typer.echo("\t".join([account.user_id, *traits(account)]))


@app.command()
def deactivate(
    name: Name,
    erase: Annotated[
        bool,
        typer.Option("--erase", help="Also delete their profile and settings, and hide messages."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Close an account for good: nobody can log in to it or take its name again."""
    if not yes:
        typer.confirm(f"Close the account {name} for good?", abort=True)

    async def close(desk: "AccountDesk") -> str:
        user_id = desk.user_id(name)
        await desk.close_account(user_id, erase=erase)
        return user_id

    typer.echo(f"{at_the_desk(config, close)} is deactivated.")


def at_the_desk(config: Path | None, task: "Callable[[AccountDesk], Awaitable[T]]") -> T:
    """Do something with the accounts of the configured server; its refusals become sentences."""
    from federation.protocol.errors import MatrixError
    from homeserver.cli.accounts import account_desk

    settings = read_settings(config)

    async def run() -> T:
        async with account_desk(settings) as desk:
            return await task(desk)

    try:
        return asyncio.run(run())
    except MatrixError as error:
        raise CommandError(f"{error.message.rstrip('.')}.") from error


def read_password(file: Path | None) -> str:
    """A password from a file, from standard input (`-`), or asked for twice."""
    if file is None:
        if not sys.stdin.isatty():
            raise CommandError("There is no terminal to ask for a password; use --password-file.")
        asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    return text.removesuffix("\n").removesuffix("\r")


def traits(account: "Account") -> list[str]:
    """What sets an account apart, in words."""
    named = {
        "admin": account.is_admin,
        "guest": account.is_guest,
        "locked": account.is_locked,
        "suspended": account.is_suspended,
        "deactivated": account.is_deactivated,
    }
    return [word for word, holds in named.items() if holds]
