"""From a server name to the place to connect to, as a state machine.

Each step is data: it says what to look up next, and the answer goes into the `after_*` function
that gives the next step. What is looked up with, how long answers are kept and when to give up is
the driver's business (`federation/outbound/discovery.py`).

    first_step ─► Found                          IP literal, or a port is given
        │
        ▼
    AskWellKnown ─► after_well_known ─► Found    delegated to an IP literal, or with a port
                          │
                          ▼
                       AskSrv  _matrix-fed ─► after_srv ─► Found
                          ▲                       │ no records
                          └──────  _matrix  ◄─────┤
                                                  ▼ no records either
                                          Found, port 8448
Source: server-server API, "Resolving server names".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby

from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import (
    ServerName,
    check_server_name,
    is_valid_server_name,
    split_server_name,
)

DEFAULT_PORT = 8448
SRV_SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
"""In the order in which they are looked up; the second is deprecated."""
MAX_TARGETS = 8
"""Of a long list of SRV records only the first are tried."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as whom to expect to be answered."""

    host: str
    """An IP address (IPv6 without brackets), or a name with A or AAAA records."""
    port: int
    host_header: str
    """The `Host` header."""
    tls_name: str
    """The name or IP address that the certificate must be valid for; a name is sent as SNI."""


@dataclass(frozen=True, slots=True)
class AskWellKnown:
    """Fetch `https://hostname/.well-known/matrix/server`."""

    hostname: str


@dataclass(frozen=True, slots=True)
class AskSrv:
    """Look up the SRV records of a service of this host."""

    hostname: str
    service: str

    @property
    def query_name(self) -> str:
        """The name to look up."""
        return f"{self.service}.{self.hostname}"


@dataclass(frozen=True, slots=True)
class Found:
    """The end: the places to try in order; none if the server says that it is nowhere."""

    targets: tuple[Target, ...]


Step = AskWellKnown | AskSrv | Found


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """An SRV record; `target` is without the dot at its end, empty for the root."""

    priority: int
    weight: int
    port: int
    target: str


def first_step(server_name: ServerName) -> Step:
    """How to begin; raises `InvalidParam` for what is no server name."""
    check_server_name(server_name)
    return _direct(server_name) or AskWellKnown(split_server_name(server_name)[0])


def after_well_known(step: AskWellKnown, delegated: ServerName | None) -> Step:
    """What follows when the file names this server, or None: there is no valid file."""
    if delegated is None:
        return AskSrv(step.hostname, SRV_SERVICES[0])
    return _direct(delegated) or AskSrv(split_server_name(delegated)[0], SRV_SERVICES[0])


def after_srv(step: AskSrv, records: Sequence[SrvRecord], random: Callable[[], float]) -> Step:
    """What follows from the records of a service, in any order; none are found: none are given.

    `random` gives numbers from 0 to below 1. A single record for the root means that the service
    is decidedly not there (RFC 2782).
    """
    hostname = step.hostname
    if not records:
        if step.service == SRV_SERVICES[0]:
            return AskSrv(hostname, SRV_SERVICES[1])
        return Found((Target(hostname, DEFAULT_PORT, hostname, hostname),))
    usable = [record for record in records if record.target and record.port]
    in_order = order_srv(usable, random)[:MAX_TARGETS]
    return Found(
        tuple(Target(record.target, record.port, hostname, hostname) for record in in_order)
    )


def order_srv(records: Sequence[SrvRecord], random: Callable[[], float]) -> list[SrvRecord]:
    """The order in which to try them: by priority, among equals by chance and weight (RFC 2782)."""
    by_priority = sorted(records, key=lambda record: (record.priority, record.weight))
    ordered: list[SrvRecord] = []
    for _, group in groupby(by_priority, key=lambda record: record.priority):
        remaining = list(group)
        while remaining:
            ordered.append(remaining.pop(_draw(remaining, random)))
    return ordered


def parse_delegation(document: object) -> ServerName | None:
    """The `m.server` of a well-known file's JSON; None if it is invalid."""
    name = document.get("m.server") if isinstance(document, dict) else None
    return ServerName(name) if isinstance(name, str) and is_valid_server_name(name) else None


def address_literal(host: str) -> str | None:
    """The IP address that a host of a server name is, without brackets; None for a DNS name."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(bare)
    except ValueError:
        return None
    return bare


def _direct(server_name: ServerName) -> Found | None:
    """The end, if the name is an IP literal or has a port."""
    host, port = split_server_name(server_name)
    if port is not None and not 0 < port < 65_536:
        raise InvalidParam(f"{server_name!r} has no port that exists")
    literal = address_literal(host)
    if literal is not None:
        target = Target(literal, port or DEFAULT_PORT, server_name, literal)
    elif port is not None:
        target = Target(host, port, server_name, host)
    else:
        return None
    return Found((target,))


def _draw(records: Sequence[SrvRecord], random: Callable[[], float]) -> int:
    """The index of the record that is next; those of weight 0 stand first and rarely win."""
    drawn = random() * (sum(record.weight for record in records) + 1)
    passed = 0
    for index, record in enumerate(records):
        passed += record.weight
        if drawn < passed + 1:
            return index
    return len(records) - 1
