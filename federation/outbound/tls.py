"""How the certificates of others are checked, and TLS sessions that are taken up again.

A server that is spoken to every few minutes would send its whole chain of certificates each time,
some kilobytes. With the ticket of the last connection it need not; it is still the same server,
for the ticket was given over a connection whose certificate was checked. asyncio has no way to
hand a session in, so the context does it, which makes the TLS object of each connection.
"""

import ssl
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

MAX_SESSIONS = 200
"""Names whose last session is kept; one takes some kilobytes."""


class ResumedObject(ssl.SSLObject):
    """The TLS of one connection, which leaves its session to the next one."""

    def unwrap(self) -> None:
        """Say goodbye; by now the other side has sent its ticket."""
        context = self.context
        if isinstance(context, ResumingContext):
            context.keep(self)
        super().unwrap()


class ResumingContext(ssl.SSLContext):
    """Settings of TLS that remember the last session with each name."""

    sslobject_class = ResumedObject
    _sessions: OrderedDict[str, ssl.SSLSession]

    def __new__(cls, protocol: int = ssl.PROTOCOL_TLS_CLIENT) -> "ResumingContext":
        """No arguments are needed: it is for connections that we make."""
        made = super().__new__(cls, protocol)
        made._sessions = OrderedDict()
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The TLS of a new connection, which goes on with the last session if there is one."""
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def keep(self, connection: ssl.SSLObject) -> None:
        """Remember the session of a connection that is about to end."""
        name, session = connection.server_hostname, connection.session
        if name is None or session is None or not session.has_ticket:
            return
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)


def build_tls_context(extra_ca_files: Iterable[Path], *, verify: bool) -> ssl.SSLContext:
    """How the certificates of others are checked. Raises `OSError`, `ssl.SSLError`."""
    context = ResumingContext()
    context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for file in extra_ca_files:
        context.load_verify_locations(file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
