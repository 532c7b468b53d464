"""Sockets: TCP and TLS listeners over one dispatcher, from start to graceful end."""

import asyncio
import logging
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_server import Server

from homeserver.config.sections.server import Listener
from homeserver.http.dispatch import Api, Dispatcher, Door, Manners
from homeserver.http.read_body import ClientGone
from homeserver.http.settings import LOOPBACK, HttpSettings

log = logging.getLogger("hearth.http")

BACKLOG = 1024
MAX_LINE_BYTES = 16_384
"""The longest request line: filters travel in the query of /sync."""
TLS_HANDSHAKE_TIMEOUT_S = 30
USUAL_MANNERS = Manners()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate chain and its key, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen, what to serve there, and whose X-Forwarded-For header to believe.

    Port 0 takes a free one.
    """

    host: str
    port: int
    tls: TlsFiles | None = None
    serves: tuple[Api, ...] = ("client", "federation")
    trusted_proxies: tuple[str, ...] = LOOPBACK
    manners: Manners = USUAL_MANNERS
    keepalive_s: float = 75


def listen_addresses(listeners: Iterable[Listener]) -> list[ListenAddress]:
    """The addresses that the operator sets. Raises `ValueError` for a certificate without key."""
    return [
        ListenAddress(
            host=listener.address,
            port=listener.port,
            tls=tls_files(listener),
            serves=listener.serves,
            trusted_proxies=listener.trusted_proxies,
            manners=Manners(
                gzip_over_bytes=listener.gzip_over_bytes or None,
                always_for_browsers=listener.browser_headers == "always",
            ),
            keepalive_s=listener.keepalive_s,
        )
        for listener in listeners
    ]


def tls_files(listener: Listener) -> TlsFiles | None:
    """Certificate and key of a listener that has them. Raises `ValueError` for one without key."""
    if listener.tls_certificate is None:
        return None
    if listener.tls_key is None:
        raise ValueError(f"The listener on port {listener.port} has a certificate without a key")
    return TlsFiles(listener.tls_certificate, listener.tls_key)


class HttpServer:
    """Listens on all addresses and hands the requests to one dispatcher."""

    def __init__(self, dispatcher: Dispatcher, settings: HttpSettings) -> None:
        self._dispatcher = dispatcher
        self._settings = settings
        self._sockets: list[asyncio.Server] = []
        self._certificates: list[ReloadableCertificate] = []
        self._watch: asyncio.Task[None] | None = None
        self._connections: list[ConnectionServer] = []

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on, in the order of the addresses."""
        return [server.sockets[0].getsockname()[1] for server in self._sockets]

    async def start(self, addresses: Sequence[ListenAddress]) -> None:
        """Listen. Raises `OSError` (address in use, no such file) or `ssl.SSLError`."""
        try:
            for address in addresses:
                self._sockets.append(await self._listen(address))
        except OSError:
            await self.stop(grace_s=0)
            raise
        if self._certificates:
            self._watch = asyncio.create_task(self._watch_certificates())

    async def stop(self, grace_s: float = 10) -> None:
        """Accept nothing more, let the calls in flight finish for `grace_s`, hang up."""
        if self._watch is not None:
            self._watch.cancel()
        for server in self._sockets:
            server.close()
        await self._dispatcher.drain(grace_s)
        for connections in self._connections:
            connections.pre_shutdown()
            # The calls have had their time; answers need a moment to go out.
            await connections.shutdown(timeout=1)
        self._connections.clear()
        self._sockets.clear()

    def reload_certificates(self) -> None:
        """Take certificates that have changed on disk for new connections."""
        for certificate in self._certificates:
            certificate.reload()

    async def _listen(self, address: ListenAddress) -> asyncio.Server:
        door = self._dispatcher.door(address.serves, address.trusted_proxies, address.manners)
        connections = ConnectionServer(self._dispatcher, door, address.keepalive_s)
        self._connections.append(connections)
        context = None
        if address.tls is not None:
            certificate = ReloadableCertificate(address.tls)
            self._certificates.append(certificate)
            context = certificate.context
        return await asyncio.get_running_loop().create_server(
            connections,
            address.host,
            address.port,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT_S if context else None,
        )

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(self._settings.certificate_check_s)
            self.reload_certificates()


class ConnectionServer(Server):
    """aiohttp's protocol factory, set up for us; tells the dispatcher of lost connections."""

    def __init__(self, dispatcher: Dispatcher, door: Door, keepalive_s: float) -> None:
        super().__init__(
            partial(dispatcher.answer, door),
            access_log=None,
            logger=PROTOCOL_LOG,
            keepalive_timeout=keepalive_s,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        self._dispatcher = dispatcher

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget the connection and end what waits on it."""
        super().connection_lost(handler, exc)
        self._dispatcher.connection_lost(handler)


class ReloadableCertificate:
    """A TLS context whose certificate follows the files, for instance after a renewal."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises `OSError` or `ssl.SSLError`."""
        self._files = files
        self._stamp = self._read_stamp()
        self.context = self._build_context()

    def reload(self) -> None:
        """Load the files where they have changed; broken ones are logged and left alone."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return
            # Into a context of its own first: a pair that does not match must not harm the one
            # that works.
            self._build_context()
            self.context.load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ssl.SSLError) as error:
            log.warning("Certificate %s cannot be loaded: %s", self._files.certificate, error)
            return
        self._stamp = stamp
        log.info("Certificate %s reloaded", self._files.certificate)

    def _build_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._files.certificate, self._files.key)
        return context

    def _read_stamp(self) -> tuple[int, int]:
        return (
            self._files.certificate.stat().st_mtime_ns,
            self._files.key.stat().st_mtime_ns,
        )


def quieten_broken_requests(record: logging.LogRecord) -> bool:
    """Bytes that are not HTTP are everyday life on the internet: one line, no stack trace.

    So are clients that hang up before they are answered, and bodies that are not packed as their
    headers say.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | RequestPayloadError | ClientGone):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


PROTOCOL_LOG = logging.getLogger("hearth.http.protocol")
PROTOCOL_LOG.addFilter(quieten_broken_requests)
