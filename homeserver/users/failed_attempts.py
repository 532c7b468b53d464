"""How often somebody may be wrong about an account's password, or have one address mailed to.

The dispatcher limits how often one address may try. This limits how often one account is tried,
whatever the addresses. The bucket of an account is kept as the time at which it will be full again
(the generic cell rate algorithm).
"""

from collections.abc import Callable

from federation.protocol.errors import LimitExceeded
from homeserver.config.sections.limits import Allowance
from homeserver.users.bearer import digest

MAX_ACCOUNTS = 10_000
"""Accounts remembered, some 150 bytes each, however long a name somebody makes up."""

SLOWEST_PER_SECOND = 1e-6
ROUNDING_S = 1e-6


class FailedAttempts:
    """Counts wrong passwords.

    When `_recent` has half of the accounts that may be remembered, it becomes `_former`, and what
    was there is forgotten.
    """

    __slots__ = ("_burst_s", "_enabled", "_former", "_interval_s", "_now_s", "_recent")

    def __init__(self, allowance: Allowance, now_s: Callable[[], float], *, enabled: bool) -> None:
        self._enabled = enabled
        self._interval_s = 1 / max(allowance.per_second, SLOWEST_PER_SECOND)
        self._burst_s = self._interval_s * allowance.burst
        self._now_s = now_s
        self._recent: dict[bytes, float] = {}
        self._former: dict[bytes, float] = {}

    def begin(self, account: str) -> None:
        """Take one attempt, to be given back if the password is right. Raises `LimitExceeded`.

        Taken beforehand, because verifying takes long and many may try at once.
        """
        if not self._enabled:
            return
        key, now = digest(account), self._now_s()
        full_at = max(self._find(key) or now, now) + self._interval_s
        excess_s = full_at - now - self._burst_s
        if excess_s > ROUNDING_S:
            raise LimitExceeded(retry_after_ms=int(excess_s * 1000) + 1)
        if len(self._recent) >= MAX_ACCOUNTS // 2:
            self._former, self._recent = self._recent, {}
        self._recent[key] = full_at

    def give_back(self, account: str) -> None:
        """The password was right."""
        key = digest(account)
        full_at = self._find(key)
        if full_at is not None:
            self._recent[key] = full_at - self._interval_s

    def _find(self, key: bytes) -> float | None:
        """When the bucket of an account is full again, if it was seen lately."""
        return self._recent.get(key) or self._former.get(key)
