"""The health of other servers: who failed is left alone for a while, longer each time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from federation.outbound.errors import BackingOff, FederationError, Refused, Unreachable
from federation.outbound.expiring import Expiring
from federation.outbound.ports import Clock, DestinationStore, RetryState
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import DESTINATION_RETRIES, RetrySchedule

REMEMBERED = 10_000
REREAD_MS = 5 * 60_000
"""How long a state is believed before it is read again: another process may know better."""
SUCCESS_NOTED_MS = 3_600_000
"""How exactly the time of the last success is kept."""
REVIVED_AT_MOST_EVERY_MS = 60_000
MISSING = 1_000
"""Servers that are looked for; those that are gone for longest make room."""

Returned = Callable[[ServerName], None]


class Backoff:
    """Knows which destinations are left alone, and until when."""

    __slots__ = (
        "_clock",
        "_listeners",
        "_random",
        "_revived",
        "_schedule",
        "_states",
        "_store",
        "is_any_missing",
        "last_answer_ts",
        "missing",
    )

    def __init__(
        self,
        store: DestinationStore,
        clock: Clock,
        random: Callable[[], float],
        schedule: RetrySchedule = DESTINATION_RETRIES,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._schedule = schedule
        self._states: Expiring[ServerName, RetryState] = Expiring(REMEMBERED, clock)
        self._revived: Expiring[ServerName, bool] = Expiring(REMEMBERED, clock)
        self._listeners: list[Returned] = []
        self.missing: dict[ServerName, int] = {}
        """Servers from which no answer comes, each with the time since when."""
        self.is_any_missing = asyncio.Event()
        self.last_answer_ts = 0
        """When any server has answered last."""

    def listen(self, returned: Returned) -> None:
        """Have `returned` called when a server that failed before is there again."""
        self._listeners.append(returned)

    async def state_of(self, destination: ServerName) -> RetryState:
        """What is known of a destination."""
        state = self._states.get(destination)
        if state is None:
            state = await self._store.find_retry_state(destination) or RetryState()
            self._remember(destination, state)
        return state

    async def check(self, destination: ServerName) -> None:
        """Raises `BackingOff` while the destination is left alone."""
        state, now_ts = await self.state_of(destination), self._clock()
        if now_ts < state.retry_at_ts:
            raise BackingOff(destination, state.retry_at_ts, now_ts)

    async def succeeded(self, destination: ServerName) -> None:
        """Note that a destination has answered."""
        self._found(destination)
        state, now_ts = await self.state_of(destination), self._clock()
        if not state.failures and now_ts - state.last_success_ts < SUCCESS_NOTED_MS:
            return
        await self._change(destination, RetryState(last_success_ts=now_ts))
        if state.failures:
            self._tell(destination)

    async def failed(self, destination: ServerName, error: FederationError, began_ts: int) -> None:
        """Note that a request, begun at `began_ts`, has failed, where that says something."""
        if not is_sick(error):
            return
        if error.reachable:
            self._found(destination)
        else:
            self.miss(destination, self._clock())
        state, now_ts = await self.state_of(destination), self._clock()
        # Requests that were under way together fail together: that is one failure. Each delay is
        # counted from the failure before, so what began before the delay ended is not new.
        if state.failures and began_ts < state.retry_at_ts:
            return
        failures = state.failures + 1
        retry_at_ts = now_ts + self._schedule.delay_ms(failures, self._random())
        await self._change(destination, replace(state, failures=failures, retry_at_ts=retry_at_ts))

    async def revive(self, destination: ServerName) -> None:
        """Note that a destination has made a request itself, so that it may be tried at once.

        Its failures still count: if it hears us no better than before, the next delay is as long.
        """
        state, now_ts = await self.state_of(destination), self._clock()
        if now_ts >= state.retry_at_ts or self._revived.get(destination):
            return
        self._revived.put(destination, True, now_ts + REVIVED_AT_MOST_EVERY_MS)
        await self._change(destination, replace(state, retry_at_ts=now_ts))
        self._tell(destination)

    def miss(self, destination: ServerName, since_ts: int) -> None:
        """Note that a destination does not seem to be there."""
        self.missing.setdefault(destination, since_ts)
        if len(self.missing) > MISSING:
            del self.missing[next(iter(self.missing))]
        self.is_any_missing.set()

    def _found(self, destination: ServerName) -> None:
        self.last_answer_ts = self._clock()
        self.forget_missing(destination)

    def forget_missing(self, destination: ServerName) -> None:
        """Note that looking for a destination is not worth while any more."""
        self.missing.pop(destination, None)
        if not self.missing:
            self.is_any_missing.clear()

    async def _change(self, destination: ServerName, state: RetryState) -> None:
        self._remember(destination, state)
        await self._store.set_retry_state(destination, state)

    def _remember(self, destination: ServerName, state: RetryState) -> None:
        self._states.put(destination, state, self._clock() + REREAD_MS)

    def _tell(self, destination: ServerName) -> None:
        for returned in self._listeners:
            returned(destination)


def is_sick(error: FederationError) -> bool:
    """Whether the error says that the whole server is in trouble, not just one request."""
    if isinstance(error, Refused):
        return (error.answer_status or 0) >= 500
    return isinstance(error, Unreachable) and error.transient
