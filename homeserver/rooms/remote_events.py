"""What intake needs of other servers, and of their keys."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from federation.protocol.room_versions import RoomVersion

Fields = Mapping[str, Any]
"""The decoded JSON of a PDU."""


class Signatures(Protocol):
    """Other servers' keys."""

    async def check_events(
        self, events: Sequence[Fields], room_version: RoomVersion
    ) -> list[str | None]:
        """For each event why a signature that it needs is missing or wrong, or None."""


class EventSource(Protocol):
    """Another server's answers about the events of a room; what it says is not to be believed.

    All raise `FederationError` when the server cannot be reached or refuses.
    """

    async def missing_events(
        self,
        origin: str,
        room_id: str,
        earliest: Sequence[str],
        latest: Sequence[str],
        *,
        limit: int,
        min_depth: int,
    ) -> list[Fields]:
        """Events between some that we have (`earliest`) and some that refer to unknown ones."""

    async def state_ids(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[str], list[str]]:
        """The IDs of the state before an event and of that state's auth chain."""

    async def state(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[Fields], list[Fields]]:
        """The state before an event and that state's auth chain."""

    async def event(self, origin: str, event_id: str) -> Fields:
        """A single event."""

    async def event_auth(self, origin: str, room_id: str, event_id: str) -> list[Fields]:
        """The auth chain of an event."""

    async def backfill(
        self, origin: str, room_id: str, event_ids: Sequence[str], limit: int
    ) -> list[Fields]:
        """Events before and including some."""

    async def event_near(
        self, origin: str, room_id: str, ts: int, *, backwards: bool
    ) -> tuple[str, int]:
        """The ID and time of the first event at or after a time, or of the last one before."""
