"""Sending mail by the configured mail server.

A mail is handed over while its sender waits: who asks for a mail to verify an address hears at
once if it cannot be sent, and what is told by mail is written down as told only when the mail
server has taken it. So there is no outbox that mails could be lost in or wait in for days.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from typing import Any

from federation.outbound.tls import build_tls_context
from federation.protocol.errors import MatrixError
from homeserver.config.sections.mail import Mail
from homeserver.config.settings import Settings
from homeserver.mail.templates import Templates, Values


class MailNotSent(MatrixError):
    """The mail server did not take a mail; `is_final` says that it never will."""

    status = 500

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__("The mail could not be sent")
        self.reason = reason
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail: to whom, which template, and what goes into it."""

    to: str
    template: str
    values: Values
    headers: Mapping[str, str]


class Mailer:
    """Sends mail; `tls` makes the context in which the mail server's certificate is checked."""

    def __init__(self, settings: Mail, server_name: str, tls: Callable[[], ssl.SSLContext]) -> None:
        self._settings = settings
        self._server_name = server_name
        self._tls = tls
        self._templates = Templates(settings.templates, server_name)

    @property
    def is_configured(self) -> bool:
        """Whether there is a mail server."""
        return bool(self._settings.host)

    @property
    def templates(self) -> Templates:
        """The templates that letters name."""
        return self._templates

    async def send(
        self,
        to: str,
        template: str,
        values: Values,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a mail. Raises `MailNotSent`."""
        if not self.is_configured:
            raise MailNotSent("no mail server is configured", is_final=True)
        await self._hand_over(self._build(Letter(to, template, values, headers or {})))

    async def check(self) -> None:
        """See whether the mail server would take mail. Raises `MailNotSent`."""
        import aiosmtplib

        settings = self._settings
        client = aiosmtplib.SMTP(**self._connection())
        try:
            async with client:
                await client.noop()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise MailNotSent(f"{settings.host} port {settings.port}: {reason}") from error

    def _build(self, letter: Letter) -> EmailMessage:
        content = self._templates.render(letter.template, letter.values)
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = letter.to
        message["Subject"] = content.subject
        message["Date"] = formatdate(localtime=False)
        message["Message-ID"] = make_msgid(domain=self._domain)
        # Nobody's automatic answer is wanted.
        message["Auto-Submitted"] = "auto-generated"
        for name, value in letter.headers.items():
            message[name] = value
        message.set_content(content.text)
        message.add_alternative(content.html, subtype="html")
        return message

    @property
    def _sender(self) -> str:
        return self._settings.sender or f"{self._server_name} <noreply@{self._host_name}>"

    @property
    def _domain(self) -> str:
        return parseaddr(self._sender)[1].rpartition("@")[2] or self._host_name

    @property
    def _host_name(self) -> str:
        return self._server_name.rpartition(":")[0] or self._server_name

    async def _hand_over(self, message: EmailMessage) -> None:
        # Loaded with the first mail: a server that sends none does without.
        import aiosmtplib

        try:
            await aiosmtplib.send(message, **self._connection())
        except aiosmtplib.SMTPRecipientsRefused as error:
            is_final = all(500 <= one.code < 600 for one in error.recipients)
            raise MailNotSent(str(error), is_final=is_final) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MailNotSent(str(error) or type(error).__name__) from error

    def _connection(self) -> dict[str, Any]:
        """How to connect, as aiosmtplib wants it."""
        settings = self._settings
        return {
            "hostname": settings.host,
            "port": settings.port,
            "username": settings.username or None,
            "password": settings.password or None,
            "use_tls": settings.security == "tls",
            "start_tls": settings.security == "starttls",
            "tls_context": self._tls() if settings.security != "none" else None,
            "timeout": settings.timeout_s,
        }


def build_mailer(settings: Settings) -> Mailer:
    """What sends mail as configured; nothing is connected or loaded before the first one."""
    outgoing = settings.outgoing
    return Mailer(
        settings.mail,
        settings.server.name,
        lambda: build_tls_context(outgoing.extra_ca_files, verify=outgoing.verify_tls),
    )
