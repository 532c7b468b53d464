"""How long to wait before trying again: exponential backoff with jitter, as a pure function."""

from dataclasses import dataclass

_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Delays that double from `first_ms` to `longest_ms`.

    Jitter takes away up to half of a delay, so that many that failed together do not return
    together, while a delay is never shorter than the one before it could be long.
    """

    first_ms: int
    longest_ms: int

    def nominal_ms(self, attempts: int) -> int:
        """The delay after `attempts` failures in a row (1 or more), before jitter."""
        doublings = min(max(attempts, 1) - 1, _MAX_DOUBLINGS)
        return min(self.first_ms << doublings, self.longest_ms)

    def delay_ms(self, attempts: int, fraction: float) -> int:
        """The delay after `attempts` failures in a row; `fraction` is random, from 0 to 1.

        The answer lies between half of the nominal delay and the whole of it.
        """
        nominal = self.nominal_ms(attempts)
        return nominal - nominal // 2 + int(nominal // 2 * min(max(fraction, 0.0), 1.0))


DESTINATION_RETRIES = RetrySchedule(first_ms=5_000, longest_ms=60 * 60 * 1000)
"""For other servers: links that drop for hours are normal, so never more than an hour."""

PUSHER_RETRIES = RetrySchedule(first_ms=1_000, longest_ms=60 * 60 * 1000)
"""For push gateways and application services."""
