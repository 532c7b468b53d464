"""Application services: bridges and bots that the server works together with."""

from dataclasses import dataclass
from pathlib import Path

from homeserver.config.sections.ranges import Positive


@dataclass(frozen=True, slots=True)
class AppServices:
    """Application services: bridges to other networks, and bots."""

    files: tuple[Path, ...] = ()
    """The registration files, as bridges write them (YAML, Synapse's format), for instance
    "/etc/hearth/whatsapp.yaml". The server reads them when it starts."""
    transaction_timeout_s: Positive = 120
    """How long an application service may take to answer what it is sent; then it is sent again."""
    query_timeout_s: Positive = 10
    """How long one may take to say whether it knows a user, an alias or something of another
    network, while somebody waits for it."""
    token_in_query: bool = False
    """Send the hs_token in the query string too, for application services of before 2022. It may
    then appear in their logs."""
