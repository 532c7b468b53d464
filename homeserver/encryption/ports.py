"""What end-to-end encryption needs of other services."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from federation.protocol.identifiers import ServerName

Announce = Callable[[str], Awaitable[None]]
"""Tells the other processes over the same database; they hand the text to `OneTimeKeys.hear`."""


class RoomServers(Protocol):
    """Which servers are in rooms."""

    async def now(self, room_nids: Iterable[int]) -> Mapping[int, frozenset[ServerName]]:
        """The other servers in rooms as they stand."""
