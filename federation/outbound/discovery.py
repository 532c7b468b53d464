"""Drives the steps of `federation/protocol/server_name.py`: asks, remembers, and says where to.

Source: server-server API, "Resolving server names".
"""

from collections.abc import Callable
from dataclasses import dataclass

from federation.outbound.expiring import Expiring
from federation.outbound.ports import Clock
from federation.outbound.resolver import Resolver
from federation.outbound.single_flight import SingleFlight
from federation.outbound.well_known import Delegation, WellKnown
from federation.protocol.identifiers import ServerName
from federation.protocol.server_name import (
    AskSrv,
    AskWellKnown,
    Found,
    SrvRecord,
    Target,
    after_srv,
    after_well_known,
    first_step,
)

REMEMBERED = 10_000
SHORTEST_MS = 60_000
LONGEST_MS = 3_600_000
DOUBTED_AFTER_MS = 60_000
"""A place that cannot be reached any more is looked for again if it was found so long ago."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """Where a server is, and how that was found out."""

    targets: tuple[Target, ...]
    found_ts: int
    lifetime_ms: int
    delegation: Delegation | None
    """What the well-known file said, None where it was not asked for."""
    srv: tuple[tuple[str, tuple[SrvRecord, ...]], ...]
    """The names whose SRV records were looked up, with what was found."""


class Discovery:
    """Finds out where servers are."""

    __slots__ = ("_clock", "_finding", "_known", "_random", "_resolver", "_well_known")

    def __init__(
        self,
        well_known: WellKnown,
        resolver: Resolver,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._well_known = well_known
        self._resolver = resolver
        self._clock = clock
        self._random = random
        self._known: Expiring[ServerName, Discovered] = Expiring(REMEMBERED, clock)
        self._finding: SingleFlight[ServerName, Discovered] = SingleFlight()

    async def find(self, server_name: ServerName) -> Discovered:
        """The places to connect to, in order. Raises `InvalidParam` for what is no server name."""
        known = self._known.get(server_name)
        if known is not None:
            return known
        return await self._finding.run(server_name, lambda: self._renew(server_name))

    def doubt(self, server_name: ServerName) -> None:
        """Note that a server was not where it should be: look again before the time is over."""
        known = self._known.get(server_name)
        if known is not None and self._clock() - known.found_ts >= DOUBTED_AFTER_MS:
            self._known.discard(server_name)

    async def _renew(self, server_name: ServerName) -> Discovered:
        discovered = await self._discover(server_name)
        until_ts = discovered.found_ts + discovered.lifetime_ms
        self._known.put(server_name, discovered, until_ts)
        return discovered

    async def _discover(self, server_name: ServerName) -> Discovered:
        step = first_step(server_name)
        asked_ms = LONGEST_MS
        delegation: Delegation | None = None
        srv: list[tuple[str, tuple[SrvRecord, ...]]] = []
        while not isinstance(step, Found):
            if isinstance(step, AskWellKnown):
                delegation = await self._well_known.delegation_of(step.hostname)
                asked_ms = min(asked_ms, delegation.lifetime_ms)
                step = after_well_known(step, delegation.server_name)
            else:
                step, ttl_s = await self._ask_srv(step, srv)
                asked_ms = min(asked_ms, ttl_s * 1000)
        lifetime_ms = min(max(asked_ms, SHORTEST_MS), LONGEST_MS)
        return Discovered(step.targets, self._clock(), lifetime_ms, delegation, tuple(srv))

    async def _ask_srv(
        self, step: AskSrv, asked: list[tuple[str, tuple[SrvRecord, ...]]]
    ) -> tuple[AskSrv | AskWellKnown | Found, int]:
        answer = await self._resolver.srv(step.query_name)
        asked.append((step.query_name, answer.records))
        return after_srv(step, answer.records, self._random), answer.ttl_s
