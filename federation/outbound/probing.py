"""Looking for servers that are gone, so that their return is noticed within seconds.

A server that does not answer is left alone for longer and longer, up to an hour, and that is right
for requests: each costs it and us a TLS handshake and a body. But links come and go, and nobody
wants to wait for most of an hour because a ship has left a fjord. A bare TCP connection costs a few
packets of 60 bytes, so it is tried far more often, and when it succeeds the server counts as heard
of.

If nobody at all has answered since a server was lost, it is probably our own link that is down:
then it is looked for every few seconds, however long that lasts. Otherwise less often the longer
it is gone, and no more after a day. What listens but does not answer (a proxy whose server is
away, a certificate that has expired) is not found by connecting to it: every find that turns out
to be none doubles the time to the next try.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from federation.outbound.backoff import Backoff
from federation.outbound.ports import Clock
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import ServerName

log = logging.getLogger("hearth.probing")

AT_ONCE = 20
SHORTEST_MS = 5_000
LONGEST_MS = 60_000
PART_OF_ABSENCE = 60
"""Between two tries goes by this part of the time that the server is gone."""
MAX_DOUBLINGS = 10
GIVEN_UP_AFTER_MS = 24 * 3_600_000


@dataclass(slots=True)
class Search:
    """One server that is looked for."""

    next_ts: int
    finds: int = 0
    """How often it could be connected to, and was not there for all that."""
    is_under_way: bool = False


class Probing:
    """Looks for missing servers; `can_connect` tries one."""

    def __init__(
        self,
        backoff: Backoff,
        can_connect: Callable[[ServerName], Awaitable[bool]],
        clock: Clock,
        random: Callable[[], float],
        pace_s: float = 1.0,
    ) -> None:
        """`pace_s` is how often it is looked whose turn it is."""
        self._backoff = backoff
        self._can_connect = can_connect
        self._clock = clock
        self._random = random
        self._pace_s = pace_s
        self._searches: dict[ServerName, Search] = {}

    async def run(self) -> None:
        """Look for whoever is missing, until cancelled."""
        async with asyncio.TaskGroup() as probes:
            while True:
                await self._backoff.is_any_missing.wait()
                for name in self.whose_turn():
                    probes.create_task(self.probe(name))
                await asyncio.sleep(self._pace_s)

    def whose_turn(self) -> list[ServerName]:
        """Those who are to be looked for now, who have waited longest for it in front."""
        now_ts = self._clock()
        self._follow_backoff(now_ts)
        under_way = sum(search.is_under_way for search in self._searches.values())
        due = [
            (search.next_ts, name)
            for name, search in self._searches.items()
            if search.next_ts <= now_ts and not search.is_under_way
        ]
        turns = [name for _, name in sorted(due)[: AT_ONCE - under_way]]
        for name in turns:
            self._searches[name].is_under_way = True
        return turns

    async def probe(self, name: ServerName) -> None:
        """Look for one whose turn it is."""
        search = self._searches[name]
        is_found = False
        try:
            is_found = await self._can_connect(name)
        except Exception:
            log.exception("Looking for %s has failed", name)
        finally:
            search.is_under_way = False
        if is_found:
            search.finds += 1
        now_ts = self._clock()
        since_ts = self._backoff.missing.get(name, now_ts)
        search.next_ts = now_ts + self._pause_ms(since_ts, now_ts, finds=search.finds)
        if is_found:
            await self._revive(name)

    def _follow_backoff(self, now_ts: int) -> None:
        """Look for those who are missing by now, and no more for the others."""
        for name, since_ts in list(self._backoff.missing.items()):
            if self._is_given_up(since_ts, now_ts):
                self._backoff.forget_missing(name)
            elif name not in self._searches:
                self._searches[name] = Search(now_ts + self._pause_ms(since_ts, now_ts, finds=0))
        for name in self._searches.keys() - self._backoff.missing.keys():
            if not self._searches[name].is_under_way:
                del self._searches[name]

    async def _revive(self, name: ServerName) -> None:
        log.info("%s can be connected to again", name)
        try:
            await self._backoff.revive(name)
        except MatrixError as error:
            log.warning("That %s is back could not be noted: %s", name, error)

    def _pause_ms(self, since_ts: int, now_ts: int, *, finds: int) -> int:
        pause_ms = SHORTEST_MS
        if not self._is_silent(since_ts):
            share_ms = (now_ts - since_ts) // PART_OF_ABSENCE
            pause_ms = min(max(share_ms, SHORTEST_MS), LONGEST_MS)
        pause_ms <<= min(finds, MAX_DOUBLINGS)
        return pause_ms - int(pause_ms / 4 * self._random())

    def _is_given_up(self, since_ts: int, now_ts: int) -> bool:
        return now_ts - since_ts > GIVEN_UP_AFTER_MS and not self._is_silent(since_ts)

    def _is_silent(self, since_ts: int) -> bool:
        """Whether nobody at all has answered since then."""
        return self._backoff.last_answer_ts <= since_ts
