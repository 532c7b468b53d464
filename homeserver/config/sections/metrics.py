"""Figures for monitoring."""

from dataclasses import dataclass

from homeserver.config.sections.ranges import Count, Port


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures for Prometheus at /metrics, on a port of their own. docs/monitoring.md lists them."""

    enabled: bool = False
    """Count, and answer there."""
    address: str = "127.0.0.1"
    """The IP address to bind. Whoever reaches it sees which servers yours has to do with."""
    port: Port = 9008
    """The TCP port; 0 takes a free one."""
    named_destinations: Count = 10
    """How many other servers are named with what they still have to get, those that lack most; the
    rest are counted together."""
