"""What an operator may set about the HTTP side."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.protocol.endpoint import Rate


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` calls at once, refilled at `per_second`."""

    per_second: float
    burst: int


DEFAULT_ALLOWANCES: Mapping[Rate, Allowance] = {
    Rate.REQUEST: Allowance(per_second=50, burst=500),
    Rate.MESSAGE: Allowance(per_second=5, burst=50),
    Rate.LOGIN: Allowance(per_second=0.1, burst=10),
    Rate.REGISTRATION: Allowance(per_second=0.05, burst=5),
    Rate.JOIN: Allowance(per_second=0.5, burst=20),
    Rate.ROOM_CREATION: Allowance(per_second=0.1, burst=10),
    Rate.INVITE: Allowance(per_second=0.5, burst=20),
    Rate.SEARCH: Allowance(per_second=1, burst=20),
    Rate.REPORT: Allowance(per_second=0.1, burst=10),
}


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits and deadlines of the HTTP side.

    `trusted_proxies` are the address ranges whose X-Forwarded-For header is believed. A class of
    calls that `allowances` does not name is not limited. Bodies longer than `gzip_over_bytes` are
    compressed for clients that ask; None (the default, compression costs more CPU than most
    answers) leaves that to a reverse proxy.
    """

    rate_limits: bool = True
    allowances: Mapping[Rate, Allowance] = field(default_factory=lambda: DEFAULT_ALLOWANCES)
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    body_timeout_s: float = 60
    write_timeout_s: float = 60
    keepalive_s: float = 75
    gzip_over_bytes: int | None = None
    log_requests: bool = False
