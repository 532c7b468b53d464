"""The signatures of events, checked with the keys of all servers."""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.outbound.keyring import Keyring
from federation.outbound.verification import verify_events
from federation.protocol.room_versions import RoomVersion


class EventSignatures:
    """Checks events by a keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def check_events(
        self, events: Sequence[Mapping[str, Any]], room_version: RoomVersion
    ) -> list[str | None]:
        """For each event why a signature that it needs is missing or wrong, or None."""
        problems = await verify_events(self._keyring, events, room_version)
        return [None if problem is None else problem.message for problem in problems]
