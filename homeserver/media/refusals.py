"""What cannot be had is not tried again at once: who asks is told the same for a while."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from federation.outbound.expiring import Expiring
from federation.protocol.errors import MatrixError
from homeserver.clock import Clock

K = TypeVar("K", bound=Hashable)


class Refusals(Generic[K]):
    """At most `max_entries` errors by what was asked for, each for `kept_ms` milliseconds."""

    __slots__ = ("_clock", "_kept", "_kept_ms")

    def __init__(self, max_entries: int, kept_ms: int, clock: Clock) -> None:
        # Not the errors themselves: they hold on to all that there was where they were raised.
        self._kept = Expiring[K, tuple[type[MatrixError], str]](max_entries, clock)
        self._kept_ms = kept_ms
        self._clock = clock

    def check(self, key: K) -> None:
        """Raise the error again that was kept for a key, if there is one."""
        refusal = self._kept.get(key)
        if refusal is not None:
            error, message = refusal
            raise error(message)

    def keep(self, key: K, error: MatrixError) -> None:
        """Keep an error, of a kind that is made of its message alone."""
        self._kept.put(key, (type(error), error.message), self._clock() + self._kept_ms)
