"""A mail server that takes mail down, on loopback."""

import asyncio
import email
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.policy import default
from html import unescape
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from homeserver.app import running
from homeserver.config.sections.mail import Mail, ThirdPartyIds
from homeserver.config.settings import Settings
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.patience import PATIENCE_S

LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Received:
    """A mail that has arrived."""

    sender: str
    recipients: list[str]
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content())

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        assert part is not None
        return str(part.get_content())

    @property
    def link(self) -> str:
        """The first link, which the HTML has too."""
        found = LINK.search(self.text)
        assert found is not None
        assert found.group() in unescape(self.html)
        return found.group()


@dataclass
class MailServer:
    """Takes mail; `refusal` is what it answers instead, `logins` what clients logged in with."""

    port: int = 0
    refusal: str | None = None
    arrived: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    logins: list[tuple[str, str]] = field(default_factory=list)

    async def next(self) -> Received:
        """The next mail."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.arrived.get()

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.refusal is not None:
            return self.refusal
        content = cast("bytes", envelope.content)
        message = email.message_from_bytes(content, policy=default)
        self.arrived.put_nowait(Received(str(envelope.mail_from), envelope.rcpt_tos, message))
        return "250 taken"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right", handled=False)


@asynccontextmanager
async def mail_server(**options: Any) -> AsyncIterator[MailServer]:
    """A mail server that listens on loopback."""
    taken = MailServer()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: SMTP(taken, hostname="mail.test", authenticator=taken.authenticate, **options),
        "127.0.0.1",
        0,
    )
    taken.port = listener.sockets[0].getsockname()[1]
    try:
        yield taken
    finally:
        listener.close()
        await listener.wait_closed()


def settings_with_mail(
    database_url: str, directory: Path, port: int, **third_party: Any
) -> Settings:
    """A server that sends mail by a server on loopback."""
    return replace(
        settings_for_tests(database_url, directory),
        mail=Mail(host="127.0.0.1", port=port, security="none", notification_delay_s=1),
        third_party_ids=ThirdPartyIds(**third_party),
    )


@asynccontextmanager
async def mailing_homes(settings: Settings) -> AsyncIterator[Homes]:
    """A running server whose links lead to where it listens."""
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)
