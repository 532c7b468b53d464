"""`hearth keys`: the signing keys that prove who this server is."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from homeserver.cli.configuration import ConfigOption, read_settings

if TYPE_CHECKING:
    from homeserver.config.settings import Settings
    from storage.server_keys import OwnKeyRow

app = typer.Typer(help="Look after this server's signing keys.", no_args_is_help=True)


@app.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """List the keys, one a line: ID, public key, and how it is used."""
    from federation.protocol.unpadded_base64 import encode_base64
    from homeserver.config.keys import load_signing_keys

    settings = read_settings(config)
    current = load_signing_keys(settings.server.signing_key_path)
    for number, key in enumerate(current):
        use = "published too" if number else "signs"
        typer.echo(f"{key.key_id}\t{encode_base64(key.verify_key)}\t{use}")
    in_file = {key.key_id for key in current}
    for row in asyncio.run(known_keys(settings)):
        if row.key_id not in in_file:
            typer.echo(f"{row.key_id}\t{encode_base64(row.verify_key)}\t{end_of(row)}")


@app.command()
def rotate(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make a new signing key and retire the ones before it.

    Takes effect when the server is restarted: until then it signs with its old key. From the
    restart on the old key is published as expired, so that what it signed can still be verified.
    """
    from homeserver.config.keys import load_signing_keys, replace_signing_key

    settings = read_settings(config)
    path = settings.server.signing_key_path
    old = load_signing_keys(path)
    names = ", ".join(key.key_id for key in old)
    if not yes:
        typer.confirm(f"Replace {names} by a new key for good?", abort=True)
    # Before the file: whatever happens in between, no key of ours is forgotten.
    asyncio.run(remember(settings, {key.key_id: key.verify_key for key in old}))
    new = replace_signing_key(path)
    typer.echo(f"Made {new.key_id}; {names} will have expired.")
    typer.echo("Restart the server: until then it signs with the old key.")


async def known_keys(settings: "Settings") -> "list[OwnKeyRow]":
    """The keys that the database knows."""
    from homeserver.cli.database import database_of
    from migrations.apply import apply_migrations
    from storage.database import connect
    from storage.server_keys import own_keys

    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        try:
            await apply_migrations(connection)
            return await own_keys(connection)
        finally:
            await connection.close()


async def remember(settings: "Settings", keys: "dict[str, bytes]") -> None:
    """Have the database know that these keys are in use."""
    from federation.protocol.identifiers import KeyId
    from homeserver.cli.database import database_of
    from migrations.apply import apply_migrations
    from storage.database import connect
    from storage.server_keys import remember_own_keys

    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        try:
            await apply_migrations(connection)
            await remember_own_keys(connection, {KeyId(i): key for i, key in keys.items()})
        finally:
            await connection.close()


def end_of(row: "OwnKeyRow") -> str:
    """When a key that is no longer in the file ends or ended, in words."""
    from datetime import UTC, datetime

    if row.expired_ts is None:
        return "expires when the server is restarted"
    return f"expired {datetime.fromtimestamp(row.expired_ts / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
