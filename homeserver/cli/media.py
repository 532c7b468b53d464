"""`hearth media`: look after files, whether the server runs or not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from homeserver.cli.configuration import ConfigOption, read_settings
from homeserver.cli.errors import CommandError

if TYPE_CHECKING:
    from homeserver.cli.media_desk import MediaDesk
    from homeserver.media.upkeep import Disagreement
    from homeserver.takeover.synapse_media import Progress
    from storage.media_upkeep import Listed, Usage

T = TypeVar("T")

BY = "the command line"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

app = typer.Typer(help="Look after files that users send.", no_args_is_help=True)

Uri = Annotated[str, typer.Argument(help="A Matrix URI, as mxc://example.org/abc.")]
User = Annotated[str, typer.Argument(help="A user name, as alice or @alice:example.org.")]


@app.command()
def usage(
    users: Annotated[int, typer.Option("--users", help="How many users to show.")] = 10,
    config: ConfigOption = None,
) -> None:
    """Say how much the files take, and whose they are."""

    async def look(desk: "MediaDesk") -> "tuple[list[Usage], list[tuple[str, Usage]]]":
        from storage.media_upkeep import get_usage, largest_users

        return list(await get_usage(desk.db)), await largest_users(desk.db, users)

    parts, largest = at_the_desk(config, look)
    for title, part in zip(("own", "of other servers", "in the store"), parts, strict=True):
        typer.echo(f"{title}\t{part.count}\t{in_units(part.size)}")
    for user_id, part in largest:
        typer.echo(f"{user_id}\t{part.count}\t{in_units(part.size)}")


@app.command("list")
def list_media(
    user: User,
    limit: Annotated[int, typer.Option("--limit", help="How many to show.")] = 1000,
    config: ConfigOption = None,
) -> None:
    """List what a user has uploaded, the newest first."""

    async def collect(desk: "MediaDesk") -> "tuple[str, list[Listed]]":
        from storage.media_upkeep import media_of_user

        user_nid = await desk.user_nid(user)
        return desk.server_name, await media_of_user(desk.db, user_nid, limit)

    server_name, found = at_the_desk(config, collect)
    for one in found:
        named = [f"mxc://{server_name}/{one.media_id}", day(one.created_ts), in_units(one.size)]
        named += [one.content_type, one.upload_name or ""]
        marks = [f"quarantined by {one.quarantined_by}"] if one.quarantined_by else []
        marks += ["protected"] if one.is_protected else []
        typer.echo("\t".join([*named, ", ".join(marks)]))


@app.command()
def quarantine(
    target: Annotated[
        str,
        typer.Argument(
            help="A Matrix URI (mxc://…), a user (@alice:example.org) or a room (!abc): "
            "everything that they have sent, or that is in it."
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Give files to nobody any more, nor the same content under another name."""

    async def put_away(desk: "MediaDesk") -> int:
        from federation.protocol.identifiers import check_room_id, check_user_id

        if target.startswith("@"):
            return await desk.quarantine.add_user(check_user_id(target), BY)
        if target.startswith("!"):
            return await desk.quarantine.add_room(check_room_id(target), BY)
        await desk.quarantine.add_media(target, BY)
        return 1

    typer.echo(f"{at_the_desk(config, put_away)} files are quarantined.")


@app.command()
def release(uri: Uri, config: ConfigOption = None) -> None:
    """Take a file out of quarantine, and all that have the same content."""
    at_the_desk(config, lambda desk: desk.quarantine.release(uri))
    typer.echo(f"{uri} is free.")


@app.command()
def protect(
    uri: Uri,
    off: Annotated[bool, typer.Option("--off", help="Do so no longer.")] = False,
    config: ConfigOption = None,
) -> None:
    """Keep a file when its user or room is quarantined, and from being deleted unused."""
    at_the_desk(config, lambda desk: desk.quarantine.protect(uri, is_protected=not off))
    typer.echo(f"{uri} is {'not ' if off else ''}protected.")


@app.command()
def delete(
    target: Annotated[
        str,
        typer.Argument(help="A Matrix URI (mxc://…), or a user (@alice:example.org)."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete a file, or all that a user has uploaded. What is quarantined stays so."""
    if not yes:
        typer.confirm(f"Delete {target} for good?", abort=True)

    async def remove(desk: "MediaDesk") -> int:
        from federation.protocol.identifiers import check_user_id

        if target.startswith("@"):
            return await desk.upkeep.delete_of_user(check_user_id(target))
        return int(await desk.upkeep.delete_named(*desk.quarantine.name_of(target)))

    typer.echo(f"{at_the_desk(config, remove)} files are deleted; the disk is free in an hour.")


@app.command("purge-remote")
def purge_remote(
    days: Annotated[int, typer.Option("--unused-days", min=0, help="Not asked for in so long.")],
    config: ConfigOption = None,
) -> None:
    """Forget other servers' files that nobody has asked for; they are fetched again if needed."""

    async def purge(desk: "MediaDesk") -> int:
        from homeserver.media.upkeep import DAY_MS

        total = 0
        while count := await desk.upkeep.delete_unused_since(
            desk.clock() - days * DAY_MS, ours=False
        ):
            total += count
            typer.echo(f"{total} files", err=True)
        return total

    typer.echo(f"{at_the_desk(config, purge)} files are forgotten; the disk is free in an hour.")


@app.command()
def check(config: ConfigOption = None) -> None:
    """Compare the files with the database; ends with status 1 if any are missing."""

    async def compare(desk: "MediaDesk") -> "Disagreement":
        seen = 0

        def progress(count: int) -> None:
            nonlocal seen
            if (seen + count) // 10_000 > seen // 10_000:
                typer.echo(f"{seen + count} files", err=True)
            seen += count

        return await desk.upkeep.compare(progress)

    found = at_the_desk(config, compare)
    for key in found.missing:
        typer.echo(f"missing\t{key}")
    for key in found.stray:
        typer.echo(f"stray\t{key}")
    typer.echo(f"{len(found.missing)} files are missing, {len(found.stray)} are nobody's.")
    if found.missing:
        raise typer.Exit(1)


@app.command("import-synapse")
def import_synapse(
    directory: Annotated[Path, typer.Argument(help="Synapse's media_store_path.")],
    database: Annotated[
        str, typer.Option("--database", help="The URL of Synapse's PostgreSQL database.")
    ],
    remote: Annotated[
        bool, typer.Option("--remote/--no-remote", help="Other servers' files too.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Take Synapse's files over, by links where that is possible; may be repeated.

    Only reads there. May run while Synapse does, and once more when it has stopped.
    """
    if not (directory / "local_content").is_dir():
        raise CommandError(f"{directory} is not Synapse's media directory: no local_content.")

    async def take(desk: "MediaDesk") -> "Progress":
        return await desk.take_from_synapse(directory, database, report, remote=remote)

    def report(progress: "Progress") -> None:
        typer.echo(f"{progress.taken + progress.known} files", err=True)

    done = at_the_desk(config, take)
    typer.echo(
        f"{done.taken} files are taken over, {done.known} were here, {done.missing} are missing."
    )


def at_the_desk(config: Path | None, task: "Callable[[MediaDesk], Awaitable[T]]") -> T:
    """Do something with the media of the configured server; its refusals become sentences."""
    from federation.protocol.errors import MatrixError
    from homeserver.cli.media_desk import media_desk

    settings = read_settings(config)

    async def run() -> T:
        async with media_desk(settings) as desk:
            return await task(desk)

    try:
        return asyncio.run(run())
    except MatrixError as error:
        raise CommandError(f"{error.message.rstrip('.')}.") from error


def in_units(size: int) -> str:
    """A number of bytes for people."""
    amount, unit = float(size), UNITS[0]
    for unit in UNITS:
        if amount < 1024 or unit == UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def day(ts: int) -> str:
    """A time as a date."""
    return datetime.fromtimestamp(ts / 1000, UTC).date().isoformat()
