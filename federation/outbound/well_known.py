"""`/.well-known/matrix/server`: fetched with limits, remembered as its headers ask.

Source: server-server API, "Resolving server names", step 3.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
import orjson
from yarl import URL

from federation.outbound.connections import Connections, reason_of
from federation.outbound.expiring import Expiring
from federation.outbound.ports import Clock
from federation.outbound.single_flight import SingleFlight
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import RetrySchedule
from federation.protocol.server_name import parse_delegation

HTTPS_PORT = 443
TIMEOUT_S = 15.0
MAX_BYTES = 50 * 1024
MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
REMEMBERED = 10_000

SHORTEST_MS = 5 * 60_000
USUAL_MS = 24 * 3_600_000
LONGEST_MS = 48 * 3_600_000
NO_FILE_MS = 3_600_000
FAILURES = RetrySchedule(first_ms=60_000, longest_ms=NO_FILE_MS)
"""How long a server is left alone that does not answer at all or answers with its own failure."""

_DIRECTIVE = re.compile(r"([a-z-]+)(?:=\"?([^\",]*)\"?)?")


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the file of a host says; `server_name` is None where there is no valid one."""

    server_name: ServerName | None
    lifetime_ms: int
    problem: str = ""
    """Why there is no valid file, for people."""
    transient: bool = False
    """The host did not answer, or with a failure of its own; a former answer is good meanwhile."""
    is_broken: bool = False
    """There is a file, or a redirect to one, and it is of no use."""


class WellKnown:
    """Finds out where hosts delegate federation to."""

    __slots__ = (
        "_clock",
        "_connections",
        "_failures",
        "_fetching",
        "_known",
        "_last_good",
        "_port",
        "_random",
    )

    def __init__(
        self,
        connections: Connections,
        clock: Clock,
        random: Callable[[], float],
        port: int = HTTPS_PORT,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._random = random
        self._port = port
        self._known: Expiring[str, Delegation] = Expiring(REMEMBERED, clock)
        self._last_good: Expiring[str, ServerName] = Expiring(REMEMBERED, clock)
        self._failures: Expiring[str, int] = Expiring(REMEMBERED, clock)
        self._fetching: SingleFlight[str, Delegation] = SingleFlight()

    async def delegation_of(self, hostname: str) -> Delegation:
        """What the host's file says, at most as old as it may be."""
        known = self._known.get(hostname)
        if known is not None:
            return known
        return await self._fetching.run(hostname, lambda: self._renew(hostname))

    async def _renew(self, hostname: str) -> Delegation:
        fetched = await self.fetch(hostname)
        now_ts = self._clock()
        if fetched.transient:
            fetched = self._after_failure(hostname, fetched)
        else:
            self._failures.discard(hostname)
        if fetched.server_name is not None and not fetched.problem:
            self._last_good.put(hostname, fetched.server_name, now_ts + LONGEST_MS)
        self._known.put(hostname, fetched, now_ts + fetched.lifetime_ms)
        return fetched

    def _after_failure(self, hostname: str, fetched: Delegation) -> Delegation:
        """The last good answer stands in, for two days at most; each failure waits longer."""
        failures = (self._failures.get(hostname) or 0) + 1
        self._failures.put(hostname, failures, self._clock() + LONGEST_MS)
        lifetime_ms = FAILURES.delay_ms(failures, self._random())
        stand_in = self._last_good.get(hostname)
        return Delegation(stand_in, lifetime_ms, fetched.problem, transient=True)

    async def fetch(self, hostname: str) -> Delegation:
        """What the host's file says now."""
        url = URL.build(
            scheme="https", host=hostname, port=self._port, path="/.well-known/matrix/server"
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._follow(url)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Delegation(None, FAILURES.first_ms, reason_of(error), transient=True)
        except ValueError as error:
            # A redirect to something that is no URL.
            return _broken_file(str(error))

    async def _follow(self, url: URL) -> Delegation:
        seen = {url}
        while True:
            async with self._connections.session().get(url, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    return await _read(response, self._clock())
                url = url.join(URL(response.headers.get("Location", "")))
            if url in seen or len(seen) > MAX_REDIRECTS:
                return _broken_file("it redirects in circles")
            if url.scheme != "https":
                return _broken_file(f"it redirects to {url}, which is not HTTPS")
            seen.add(url)


def lifetime_ms(headers: Mapping[str, str], now_ts: int) -> int:
    """How long an answer with these headers is remembered: as they say, within bounds."""
    asked_ms = _max_age_ms(headers.get("Cache-Control", ""))
    if asked_ms is None:
        asked_ms = _expires_in_ms(headers, now_ts)
    return USUAL_MS if asked_ms is None else min(max(asked_ms, SHORTEST_MS), LONGEST_MS)


def _max_age_ms(cache_control: str) -> int | None:
    directives = dict(_DIRECTIVE.findall(cache_control.lower()))
    if directives.keys() & {"no-store", "no-cache"}:
        return 0
    max_age = directives.get("max-age", "")
    return int(max_age[:12]) * 1000 if max_age.isascii() and max_age.isdecimal() else None


def _expires_in_ms(headers: Mapping[str, str], now_ts: int) -> int | None:
    expires = headers.get("Expires")
    if expires is None:
        return None
    try:
        until_s = parsedate_to_datetime(expires).timestamp()
        # Their own clock, where they tell it, is what the date was made with.
        date = headers.get("Date")
        now_s = parsedate_to_datetime(date).timestamp() if date else now_ts / 1000
    except (ValueError, OverflowError):
        return 0
    return int((until_s - now_s) * 1000)


async def _read(response: aiohttp.ClientResponse, now_ts: int) -> Delegation:
    status = response.status
    if status != 200:
        if status >= 500 or status == 429:
            return Delegation(None, FAILURES.first_ms, f"it answers {status}", transient=True)
        return _no_file(f"it answers {status}")
    body = await response.content.read(MAX_BYTES + 1)
    while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
        body += more
    if len(body) > MAX_BYTES:
        return _broken_file(f"it is larger than {MAX_BYTES} bytes")
    try:
        server_name = parse_delegation(orjson.loads(body))
    except orjson.JSONDecodeError:
        return _broken_file("it is not JSON")
    if server_name is None:
        return _broken_file("its m.server is no server name")
    return Delegation(server_name, lifetime_ms(response.headers, now_ts))


def _no_file(problem: str) -> Delegation:
    return Delegation(None, NO_FILE_MS, problem)


def _broken_file(problem: str) -> Delegation:
    return Delegation(None, NO_FILE_MS, problem, is_broken=True)
