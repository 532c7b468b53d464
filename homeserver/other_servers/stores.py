"""What talking to other servers keeps, in the database."""

from collections.abc import Mapping, Sequence

from federation.outbound.ports import RetryState, StoredKey
from federation.protocol.identifiers import KeyId, ServerName
from storage.database import Database
from storage.destinations import Health, find_health, set_health
from storage.server_keys import ServerKeyRow, keep_server_keys, server_keys


class KeptKeys:
    """The keys of other servers."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def stored_keys(
        self, wanted: Mapping[ServerName, Sequence[KeyId]]
    ) -> Sequence[StoredKey]:
        """Those of the wanted keys that are kept; an empty list of IDs stands for all."""
        rows = await server_keys(self._db, wanted)
        return [StoredKey(row.key, row.fetched_ts, row.signed_json) for row in rows]

    async def keep_keys(self, keys: Sequence[StoredKey]) -> None:
        """Keep keys; what is known of the same keys is replaced, unless it is valid for longer."""
        rows = [ServerKeyRow(one.key, one.fetched_ts, one.signed_json) for one in keys]
        await keep_server_keys(self._db, rows)


class KeptDestinations:
    """The health of other servers."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find_retry_state(self, destination: ServerName) -> RetryState | None:
        """The state, or None for a destination that is not known."""
        health = await find_health(self._db, destination)
        if health is None:
            return None
        return RetryState(health.failures, health.retry_at_ts, health.last_success_ts)

    async def set_retry_state(self, destination: ServerName, state: RetryState) -> None:
        """Remember it."""
        health = Health(state.failures, state.retry_at_ts, state.last_success_ts)
        await set_health(self._db, destination, health)
