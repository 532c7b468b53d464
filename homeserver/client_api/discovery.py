"""What the server says of itself to whom looks for it; the operator's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SPEC_VERSIONS = (
    "r0.0.1",
    "r0.1.0",
    "r0.2.0",
    "r0.3.0",
    "r0.4.0",
    "r0.5.0",
    "r0.6.0",
    "r0.6.1",
    *(f"v1.{minor}" for minor in range(1, 20)),
)
"""Versions of the client-server API that are served."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to turn to; at least one of `matrix_id` and `email_address` is given."""

    role: str
    matrix_id: str | None = None
    email_address: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the discovery endpoints answer. What is None or empty is answered with 404.

    `client_base_url` is where clients reach this server, `delegated_server` where other servers
    do (host and port). `client_extra` goes into /.well-known/matrix/client as it is. Keys of
    `policy_server_keys` are algorithms, values unpadded base64.
    """

    client_base_url: str | None = None
    identity_server_base_url: str | None = None
    delegated_server: str | None = None
    contacts: Sequence[Contact] = ()
    support_page: str | None = None
    policy_server_keys: Mapping[str, str] = field(default_factory=dict)
    client_extra: Mapping[str, Any] = field(default_factory=dict)
    unstable_features: Mapping[str, bool] = field(default_factory=dict)
