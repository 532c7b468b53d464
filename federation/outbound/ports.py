"""What talking to other servers needs of the rest: things that are kept, and time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import VerifyKey

Clock = Callable[[], int]
"""Gives milliseconds since the Unix epoch."""

Wanted = Mapping[ServerName, Mapping[KeyId, int]]
"""Keys of servers, each with the time (in ms) up to which it has to be valid."""


@dataclass(frozen=True, slots=True)
class RetryState:
    """What is known of a destination's health.

    `failures` counts failures in a row; it is left alone until `retry_at_ts`. `last_success_ts` is
    0 if it never answered.
    """

    failures: int = 0
    retry_at_ts: int = 0
    last_success_ts: int = 0


class DestinationStore(Protocol):
    """Keeps the health of destinations over restarts."""

    async def find_retry_state(self, destination: ServerName) -> RetryState | None:
        """The state, or None for a destination that is not known."""

    async def set_retry_state(self, destination: ServerName, state: RetryState) -> None:
        """Remember it."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of another server as it is kept.

    `signed_json` is the key object that it was last seen in, as its server signed it.
    """

    key: VerifyKey
    fetched_ts: int
    signed_json: bytes


class ServerKeyStore(Protocol):
    """Keeps the keys of other servers."""

    async def stored_keys(
        self, wanted: Mapping[ServerName, Sequence[KeyId]]
    ) -> Sequence[StoredKey]:
        """Those of the wanted keys that are kept; an empty list of IDs stands for all."""

    async def keep_keys(self, keys: Sequence[StoredKey]) -> None:
        """Keep keys; what is known of the same keys is replaced, unless it is valid for longer."""


class KeyCache(Protocol):
    """A bounded cache."""

    def get(self, key: Any) -> Any:
        """The value, or None."""

    def put(self, key: Any, value: Any, cost: int) -> None:
        """Keep a value that takes about `cost` bytes."""
