"""Mail, and the e-mail addresses of accounts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homeserver.config.sections.ranges import Port, Positive


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server that this server sends mail by."""

    host: str = ""
    """Its name or address. Empty: no mail is sent, and accounts cannot have e-mail addresses."""
    port: Port = 587
    """Its port: usually 587 with "starttls", 465 with "tls", 25 with "none"."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: after a first exchange, from the beginning, or not at
    all."""
    username: str = ""
    """The name to log in with; empty: without."""
    password: str = ""
    """The password to log in with."""
    sender: str = ""
    """Whom mails are from, for instance "Example <noreply@example.org>". Empty: noreply at the
    server's name."""
    templates: Path = Path("mail")
    """A directory with templates that are used instead of the built-in ones of the same name.
    Relative to `server.data_dir`."""
    timeout_s: Positive = 30
    """How long the mail server may take."""
    notifications: bool = True
    """Let users have a mail about what they have not read (pushers of kind "email")."""
    notification_content: bool = True
    """Put the text of messages into these mails; without it they name rooms and senders only. The
    text of encrypted messages is never there."""
    notification_delay_s: Positive = 600
    """How long something must have been unread before a mail is sent."""
    client_url: str = "https://matrix.to/#/"
    """What a room ID is put behind to make a link that opens the room."""


@dataclass(frozen=True, slots=True)
class ThirdPartyIds:
    """E-mail addresses of accounts, and identity servers."""

    registration_requires_email: bool = False
    """Ask for a verified e-mail address at registration. Otherwise users may give one."""
    allowed_emails: tuple[str, ...] = ()
    """The addresses that accounts may have, with * for anything, for instance "*@example.org".
    Empty: all."""
    changes_allowed: bool = True
    """Let users add and remove addresses."""
    hide_existence: bool = False
    """Answer alike whether an address is in use here or not; the mail says what is the matter."""
    token_lifetime_s: Positive = 86_400
    """How long the link in a mail can be used."""
    next_link_hosts: tuple[str, ...] = ()
    """The web sites that a browser may be sent on to after an address was verified, by host name.
    Empty: none."""
    identity_servers: tuple[str, ...] = ()
    """The identity servers that clients may have this server talk to, for instance "vector.im"."""
