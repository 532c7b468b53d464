"""The composition root: the only place that knows every part, and how a server starts and stops."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from federation.inbound.endpoints import ENDPOINTS as FEDERATION_ENDPOINTS
from federation.inbound.endpoints import FOR_CLIENTS_TOO
from federation.protocol.endpoint import Endpoint
from federation.protocol.identifiers import ServerName
from homeserver.admin_api.endpoints import ENDPOINTS as ADMIN_ENDPOINTS
from homeserver.appservices.registrations import load_registrations
from homeserver.building.calls import call_endpoints
from homeserver.building.core import Core, build_core
from homeserver.building.services import build_services
from homeserver.client_api.endpoints import ENDPOINTS as CLIENT_ENDPOINTS
from homeserver.clock import system_clock
from homeserver.config.cluster import private_cluster
from homeserver.config.keys import load_signing_keys
from homeserver.config.settings import Settings
from homeserver.http.authenticate import Authenticator
from homeserver.http.call import Call
from homeserver.http.dispatch import Dispatcher
from homeserver.http.listener import HttpServer, listen_addresses
from homeserver.http.settings import http_settings
from homeserver.other_servers.links import Links, LinkStores, build_links
from homeserver.other_servers.own_keys import begin_to_use
from homeserver.other_servers.stores import KeptDestinations, KeptKeys
from homeserver.services import Services
from migrations.apply import apply_migrations
from storage.cache import Cache
from storage.database import Pool, connect, open_pool

if TYPE_CHECKING:
    from homeserver.observe.readings import Readings

log = logging.getLogger("hearth")

ENDPOINTS: tuple[Endpoint[Call], ...] = (*CLIENT_ENDPOINTS, *ADMIN_ENDPOINTS)
KEY_CACHE_PART = 64
"""The keys of other servers get this fraction of the cache budget."""
GRACE_S = 10.0
"""How long calls that are under way may take once the server is to end, and what they commit."""
LEAVE_S = 20.0
"""How long what goes on beside them may then take to note in the database how far it has got."""


class Homeserver:
    """A running server."""

    def __init__(
        self,
        services: Services,
        http: HttpServer,
        failed: asyncio.Event,
        metrics_port: int | None,
    ) -> None:
        self.services = services
        self.http = http
        self.metrics_port = metrics_port
        self.failed = failed
        """Set when a part of the server that must not end has ended."""

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.http.ports[0]


async def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or SIGINT.

    Raises `ClusterError`, `DatabaseUnavailable`, `MigrationError`, `KeyFileError`,
    `RegistrationError` or `OSError` when it cannot start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with running(settings) as server:
        loop.add_signal_handler(signal.SIGHUP, server.http.reload_certificates)
        log.info("listening on %s", ", ".join(map(str, server.http.ports)))
        await _first_of(stopping, server.failed)
        log.info("stopping")


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Homeserver]:
    """A server with everything it needs, stopped in the reverse order on leaving."""
    failed = asyncio.Event()
    registrations = load_registrations(settings.appservices.files, ServerName(settings.server.name))
    async with AsyncExitStack() as stack:
        dsn = await _open_database(settings, stack, failed)
        pool = await open_pool(dsn, settings.database.pool_size)
        stack.push_async_callback(pool.close)
        links = await _open_links(settings, pool)
        stack.push_async_callback(links.close)
        core = build_core(settings, pool, dsn, system_clock, links)
        await _follow(core, stack, failed)
        services = build_services(core, registrations)
        stack.push_async_callback(services.media.close)
        if services.calls is not None:
            stack.push_async_callback(services.calls.close)
        await services.appservices.prepare()
        for job in services.jobs():
            await stack.enter_async_context(_task(job, failed))
        if settings.federation.enabled:
            await stack.enter_async_context(_task(links.probing.run(), failed))
        readings = _readings(core, services) if settings.metrics.enabled else None
        dispatcher = _dispatcher(settings, services, links, readings)
        stack.callback(pool.hurry, LEAVE_S)
        http = await _listen(settings, dispatcher, stack)
        metrics_port = await _tell_figures(settings, readings, stack) if readings else None
        yield Homeserver(services, http, failed, metrics_port)


async def _open_database(settings: Settings, stack: AsyncExitStack, failed: asyncio.Event) -> str:
    """The URL of a database that runs and has the newest shape."""
    dsn = settings.database.url
    if not dsn:
        cluster = private_cluster(settings)
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        await stack.enter_async_context(_task(cluster.watch(), failed))
        dsn = cluster.dsn
    connection = await connect(dsn)
    try:
        for name in await apply_migrations(connection):
            log.info("migrated the database: %s", name)
    finally:
        await connection.close()
    return dsn


async def _open_links(settings: Settings, pool: Pool) -> Links:
    """The links to other servers, with the keys that this start makes the current ones."""
    keys = load_signing_keys(settings.server.signing_key_path)
    own = await begin_to_use(pool, ServerName(settings.server.name), keys, system_clock())
    cache = Cache[tuple[str, str], object](settings.cache.budget_mb * 1_048_576 // KEY_CACHE_PART)
    stores = LinkStores(KeptKeys(pool), KeptDestinations(pool), cache)
    return build_links(settings, own, stores, system_clock)


async def _follow(core: Core, stack: AsyncExitStack, failed: asyncio.Event) -> None:
    """Join the stream: hear of others' commits before anything is read, then begin to commit."""
    await core.committer.open()
    await core.stream.open()
    await stack.enter_async_context(_task(core.stream.run(), failed))
    committing = asyncio.create_task(core.committer.run(), name="committer")
    committing.add_done_callback(lambda task: _report(task, failed))

    async def stop_committing() -> None:
        core.committer.close()
        await asyncio.wait((committing,), timeout=GRACE_S)
        if not committing.done():
            log.warning("PostgreSQL did not answer; what was not committed is given up")
            core.committer.abort()
            committing.cancel()
            await asyncio.wait((committing,))

    stack.push_async_callback(stop_committing)


def _readings(core: Core, services: Services) -> "Readings":
    # Loaded only where figures are wanted: it takes 1 MB.
    from homeserver.building.metrics import build_readings

    return build_readings(core, services)


async def _tell_figures(settings: Settings, readings: "Readings", stack: AsyncExitStack) -> int:
    """Listen for those who want figures; the port."""
    from homeserver.building.metrics import build_listener

    listener = build_listener(readings)
    port = await listener.start(settings.metrics.address, settings.metrics.port)
    stack.push_async_callback(listener.stop)
    return port


def _dispatcher(
    settings: Settings, services: Services, links: Links, readings: "Readings | None"
) -> Dispatcher:
    users = services.users
    appservices = services.appservices
    authenticator = Authenticator(
        users.sessions,
        links.auth,
        services.clock,
        users.last_seen,
        appservices.identity if appservices.services else None,
    )
    federates = settings.federation.enabled
    of_federation = FEDERATION_ENDPOINTS if federates else FOR_CLIENTS_TOO
    dispatcher = Dispatcher(
        (*ENDPOINTS, *of_federation, *call_endpoints(services.calls)),
        services,
        authenticator,
        http_settings(settings.limits),
        readings.requests.observe if readings else None,
    )
    if readings is not None:
        readings.dispatcher = dispatcher
    return dispatcher


async def _listen(settings: Settings, dispatcher: Dispatcher, stack: AsyncExitStack) -> HttpServer:
    server = HttpServer(dispatcher, http_settings(settings.limits))
    await server.start(listen_addresses(settings.listen))
    stack.push_async_callback(server.stop, GRACE_S)
    return server


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None], failed: asyncio.Event) -> AsyncIterator[None]:
    """Work that goes on beside the server; cancelled on leaving."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: _report(done, failed))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _report(task: "asyncio.Task[None]", failed: asyncio.Event) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("a part of the server has failed", exc_info=task.exception())
        failed.set()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
