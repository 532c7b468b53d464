"""How often a user or an address may call.

A token bucket kept as one number (the generic cell rate algorithm): the time at which the bucket
will be full again. A caller may run at most `burst` calls ahead of the refill.
"""

from collections.abc import Callable, Mapping

from federation.protocol.endpoint import Rate
from federation.protocol.errors import LimitExceeded
from homeserver.config.sections.limits import Allowance

MAX_CALLERS = 20_000
"""Callers remembered for each class of calls, some 100 bytes each."""

SLOWEST_PER_SECOND = 1e-6
"""What an allowance of 0 a second means: a burst, and one call more every twelve days."""


class RateLimiter:
    """Token buckets for each class of calls and caller, in bounded memory."""

    __slots__ = ("_buckets", "_now_s")

    def __init__(
        self,
        allowances: Mapping[Rate, Allowance],
        now_s: Callable[[], float],
        max_callers: int = MAX_CALLERS,
    ) -> None:
        self._now_s = now_s
        self._buckets = {
            rate: Buckets(allowance, max_callers) for rate, allowance in allowances.items()
        }

    def check(self, rate: Rate, caller: str) -> None:
        """Take one call from the caller's allowance.

        Raises `LimitExceeded` when it is used up; a refused call costs nothing.
        """
        buckets = self._buckets.get(rate)
        if buckets is not None:
            buckets.take(caller, self._now_s())

    def give_back(self, rate: Rate, caller: str) -> None:
        """Return one call that the caller has taken from its allowance."""
        buckets = self._buckets.get(rate)
        if buckets is not None:
            buckets.give_back(caller)


class Buckets:
    """The buckets of one class of calls.

    When `_recent` has half of the callers that may be remembered, it becomes `_former`, and what
    was there is forgotten: the least recently seen callers, without a list to keep in order. A
    bucket that has filled up again equals a forgotten one, so little is lost.
    """

    __slots__ = ("_former", "_generation_size", "_interval_s", "_recent", "_tolerance_s")

    def __init__(self, allowance: Allowance, max_callers: int) -> None:
        self._interval_s = 1 / max(allowance.per_second, SLOWEST_PER_SECOND)
        self._tolerance_s = self._interval_s * allowance.burst
        self._generation_size = max_callers // 2
        self._recent: dict[str, float] = {}
        self._former: dict[str, float] = {}

    def take(self, caller: str, now_s: float) -> None:
        """Take one call. Raises `LimitExceeded`."""
        full_at = self._recent.get(caller) or self._former.get(caller, now_s)
        full_at = max(full_at, now_s) + self._interval_s
        excess_s = full_at - now_s - self._tolerance_s
        # Less than a microsecond is rounding.
        if excess_s > 1e-6:
            raise LimitExceeded(retry_after_ms=int(excess_s * 1000) + 1)
        if len(self._recent) >= self._generation_size:
            self._former, self._recent = self._recent, {}
        self._recent[caller] = full_at

    def give_back(self, caller: str) -> None:
        """Return one call that was taken."""
        full_at = self._recent.get(caller) or self._former.get(caller)
        if full_at is not None:
            self._recent[caller] = full_at - self._interval_s
