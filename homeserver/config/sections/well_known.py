"""The files that lead clients and servers here."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SupportContact:
    """Someone to turn to; at least one of the two addresses is needed."""

    role: str = "m.role.admin"
    """What they are there for: "m.role.admin" or "m.role.security"."""
    matrix_id: str = ""
    """Their Matrix user ID."""
    email_address: str = ""
    """Their e-mail address."""


@dataclass(frozen=True, slots=True)
class WellKnown:
    """The files below /.well-known/matrix, which lead clients and servers here."""

    serve: bool = True
    """Answer them. Turn it off if the web server of the domain does."""
    server: str = ""
    """Where other servers reach this one, for instance "matrix.example.org:443". Empty: the file
    for servers does not exist, and they use port 8448 of the server's name."""
    client_extra: dict[str, Any] = field(default_factory=dict)
    """More keys for the file for clients."""
    support_page: str = ""
    """The URL of a page with help for users."""
    support_contacts: tuple[SupportContact, ...] = ()
    """Whom users can turn to."""
    policy_server_key: str = ""
    """The ed25519 public key (unpadded base64) of the policy server at this name, if there is
    one."""
