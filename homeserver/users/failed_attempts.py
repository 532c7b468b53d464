"""How often somebody may be wrong about an account's password, or have one address mailed to.

The dispatcher limits how often one address may try. This limits how often one account is tried,
whatever the addresses. The bucket of an account is kept as the time at which it will be full again
(the generic cell rate algorithm).
"""

from collections.abc import Callable

from federation.protocol.errors import LimitExceeded
from homeserver.config.sections.limits import Allowance

MAX_ACCOUNTS = 10_000
"""Accounts remembered; when there are more, those whose buckets are full again are dropped."""

SLOWEST_PER_SECOND = 1e-6
ROUNDING_S = 1e-6


class FailedAttempts:
    """Counts wrong passwords."""

    __slots__ = ("_burst_s", "_enabled", "_full_at", "_interval_s", "_now_s")

    def __init__(self, allowance: Allowance, now_s: Callable[[], float], *, enabled: bool) -> None:
        self._enabled = enabled
        self._interval_s = 1 / max(allowance.per_second, SLOWEST_PER_SECOND)
        self._burst_s = self._interval_s * allowance.burst
        self._now_s = now_s
        self._full_at: dict[str, float] = {}

    def begin(self, account: str) -> None:
        """Take one attempt, to be given back if the password is right. Raises `LimitExceeded`.

        Taken beforehand, because verifying takes long and many may try at once.
        """
        if not self._enabled:
            return
        now = self._now_s()
        full_at = max(self._full_at.get(account, now), now) + self._interval_s
        excess_s = full_at - now - self._burst_s
        if excess_s > ROUNDING_S:
            raise LimitExceeded(retry_after_ms=int(excess_s * 1000) + 1)
        if len(self._full_at) >= MAX_ACCOUNTS:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._full_at[account] = full_at

    def give_back(self, account: str) -> None:
        """The password was right."""
        if account in self._full_at:
            self._full_at[account] -= self._interval_s
