"""`hearth appservice`: look at the application services of this server."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from homeserver.cli.configuration import ConfigOption, read_settings, registrations_of
from homeserver.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from homeserver.appservices.registrations import Registration
    from homeserver.config.settings import Settings
    from storage.appservices import Progress

app = typer.Typer(help="Look at application services, such as bridges.", no_args_is_help=True)


@app.command("list")
def list_services(config: ConfigOption = None) -> None:
    """List the application services, and how much of what has happened each is still to be told."""
    settings = read_settings(config)
    services = registrations_of(settings)
    if not services:
        typer.echo("There are none; add a registration file to appservices.files.")
        return
    position, progress = asyncio.run(read_all_progress(settings, services))
    for service in services:
        typer.echo(f"{service.service_id}  {service.sender}  {service.url or 'is told nothing'}")
        for kind in ("users", "aliases", "rooms"):
            for namespace in getattr(service, kind):
                word = "only its" if namespace.exclusive else "its"
                typer.echo(f"    {word} {kind}: {namespace.pattern.source}")
        if service.url is not None:
            typer.echo(f"    {describe_progress(progress.get(service.service_id), position)}")


@app.command()
def ping(
    service_id: Annotated[str, typer.Argument(metavar="ID", help="The id in its registration.")],
    config: ConfigOption = None,
) -> None:
    """Find out whether an application service can be reached and takes this server's token."""
    settings = read_settings(config)
    service = find_service(registrations_of(settings), service_id)
    if service.url is None:
        raise CommandError(f"{service_id} has no URL: it is told nothing.")
    duration_ms = asyncio.run(ping_service(settings, service))
    typer.echo(f"{service_id} at {service.url} has answered after {duration_ms} ms.")


def find_service(services: "tuple[Registration, ...]", service_id: str) -> "Registration":
    """The service of this ID. Raises `CommandError`."""
    for service in services:
        if service.service_id == service_id:
            return service
    known = ", ".join(service.service_id for service in services) or "none"
    raise CommandError(f"There is no application service {service_id!r}; there are: {known}.")


async def read_all_progress(
    settings: "Settings", services: "tuple[Registration, ...]"
) -> "tuple[int, Mapping[str, Progress]]":
    """Where the stream stands, and how far each service has been told of it."""
    import asyncpg

    from homeserver.cli.database import database_of
    from storage.appservices import read_progress
    from storage.database import connect
    from storage.feed import current_position

    async with database_of(settings) as dsn:
        connection = await connect(dsn)
        try:
            ids = [service.service_id for service in services]
            return await current_position(connection), await read_progress(connection, ids)
        except asyncpg.UndefinedTableError:
            # The server has not been started since it knows application services, or never.
            return 0, {}
        finally:
            await connection.close()


def describe_progress(progress: "Progress | None", position: int) -> str:
    """How far a service has been told, in words."""
    if progress is None:
        return "the server has not been started with it yet"
    if progress.reaches is not None:
        behind = position - progress.position
        return f"waits to take transaction {progress.txn_id}; {behind} changes since the last one"
    return f"has been told everything; {progress.txn_id} transactions so far"


async def ping_service(settings: "Settings", service: "Registration") -> int:
    """Ping a service; how many milliseconds it took. Raises `CommandError`."""
    from federation.protocol.errors import MatrixError
    from homeserver.appservices.link import ServiceLink
    from homeserver.appservices.pinging import BadStatus
    from homeserver.appservices.pinging import ping as ping_link

    wanted = settings.appservices
    link = ServiceLink(service, token_in_query=wanted.token_in_query)
    try:
        return await ping_link(link, "hearth-appservice-ping", wanted.query_timeout_s)
    except BadStatus as error:
        hint = "; is hs_token the same in its configuration?" if error.answer.status < 404 else ""
        shown = error.answer.body[:200].decode("utf-8", "replace")
        raise CommandError(f"{error.message}{hint} It says: {shown}") from error
    except MatrixError as error:
        raise CommandError(f"{error.message}. Is it running at {service.url}?") from error
    finally:
        await link.close()
