"""The health of other servers: who failed is left alone for a while, longer each time."""

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

Returned = Callable[[ServerName], None]


class Backoff:
    """Knows which destinations are left alone, and until when."""

    __slots__ = ("_clock", "_listeners", "_random", "_revived", "_schedule", "_states", "_store")

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
