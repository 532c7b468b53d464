"""Other servers, and outgoing connections of every kind."""

from dataclasses import dataclass
from pathlib import Path

from homeserver.config.sections.ranges import Positive


@dataclass(frozen=True, slots=True)
class Federation:
    """Other servers."""

    enabled: bool = True
    """Talk to other servers."""
    allowed_servers: tuple[str, ...] = ()
    """The only servers to talk to; empty: all."""
    trusted_key_servers: tuple[str, ...] = ("matrix.org",)
    """Servers that are asked for the keys of servers that cannot be reached."""
    allow_profile_lookup: bool = True
    """Tell other servers the profiles of our users."""
    allow_device_names: bool = False
    """Tell other servers the names of our users' devices."""
    request_timeout_s: Positive = 60
    """How long another server may take to answer."""
    retry_first_s: Positive = 5
    """How long a server that has failed is left alone at first, unless it is heard of; each
    further failure doubles it."""
    retry_longest_s: Positive = 3_600
    """How long at most."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Outgoing connections of every kind: federation, push gateways, URL previews."""

    verify_tls: bool = True
    """Check the certificates of others. Turn it off for tests only."""
    extra_ca_files: tuple[Path, ...] = ()
    """Files in PEM with certificate authorities to trust besides the machine's own."""
    keepalive_s: Positive = 30
    """How long a connection that is not used stays open. Each takes 60 KB of memory; a new one to
    another server costs some 2 KB on the line and two round trips."""
    allow_ip_ranges: tuple[str, ...] = ()
    """Networks that may be reached although `deny_ip_ranges` has them."""
    deny_ip_ranges: tuple[str, ...] = (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/127",
        "64:ff9b:1::/48",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
    """Networks that are never connected to, so that nobody makes the server talk to machines
    behind it. An address of IPv6 that stands for one of IPv4, as `64:ff9b::/96` has them where a
    translator (NAT64) is the only way to IPv4, is judged by that one too."""
