"""What of the configuration the HTTP side needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.protocol.endpoint import Rate
from homeserver.config.sections.limits import Allowance, Limits

LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits and deadlines of the HTTP side.

    Calls of a class that `allowances` does not name are not limited. `max_body_bytes` caps every
    JSON body, whatever its endpoint allows. `certificate_check_s` is how often renewed certificates
    are looked for.
    """

    allowances: Mapping[Rate, Allowance] = field(default_factory=dict)
    max_body_bytes: int = 8_388_608
    body_timeout_s: float = 60
    write_timeout_s: float = 60
    certificate_check_s: float = 60


def http_settings(limits: Limits) -> HttpSettings:
    """The HTTP side of the limits that the operator sets."""
    return HttpSettings(
        allowances=allowances_of(limits) if limits.enabled else {},
        max_body_bytes=limits.max_body_bytes,
        body_timeout_s=limits.request_timeout_s,
    )


def allowances_of(limits: Limits) -> dict[Rate, Allowance]:
    """The allowance of each class of calls; their names are those of the settings."""
    return {rate: getattr(limits, rate.value) for rate in Rate if rate is not Rate.NONE}
