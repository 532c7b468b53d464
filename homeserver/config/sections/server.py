"""Who this server is, where it listens and what it logs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homeserver.config.sections.ranges import Count, Port, Positive


@dataclass(frozen=True, slots=True)
class Server:
    """Who this server is and where it keeps its things."""

    name: str
    """The server's name: the part of user IDs after the colon. It can never be changed."""
    public_baseurl: str = ""
    """The URL at which clients reach this server, for instance "https://matrix.example.org".
    Empty: "https://" and the server's name."""
    data_dir: Path = Path("data")
    """The directory of everything that is kept: the private database, media, the signing key."""
    signing_key_path: Path = Path("signing.key")
    """The key file that proves who this server is; made on the first run. Relative to
    `data_dir`."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and port to listen on."""

    address: str = "127.0.0.1"
    """The IP address to bind; "::" and "0.0.0.0" are all addresses."""
    port: Port = 8008
    """The TCP port; 0 takes a free one."""
    tls_certificate: Path | None = None
    """The certificate chain in PEM; with it the listener speaks HTTPS."""
    tls_key: Path | None = None
    """The private key of the certificate in PEM."""
    serves: tuple[Literal["client", "federation"], ...] = ("client", "federation")
    """The APIs that are served here."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose X-Forwarded-For is believed, for instance
    "127.0.0.1"."""
    gzip_over_bytes: Count = 0
    """Compress answers that are larger, for clients that understand it; 0 compresses none, which is
    right behind a proxy that does. docs/low-bandwidth.md says what it is good for and what not."""
    browser_headers: Literal["always", "asked"] = "always"
    """When answers have the headers without which web pages of other sites may not read them
    (CORS): "asked" is when a page asks, and saves 190 bytes an answer for everybody else."""
    keepalive_s: Positive = 75
    """How long a connection that is not used stays open."""


@dataclass(frozen=True, slots=True)
class Log:
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level; "debug" has a line for each request."""
    format: Literal["auto", "human", "json"] = "auto"
    """"json" has one object a line; "auto" is "human" on a terminal and "json" elsewhere."""
