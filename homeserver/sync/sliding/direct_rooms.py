"""Which rooms a user has as direct chats.

Source: client-server API, "Direct Messaging".
"""

from collections.abc import Sequence

from federation.protocol.canonical_json import decode
from storage.account_data_cache import AccountDataCache
from storage.changes import Change
from storage.database import Database

DIRECT = "m.direct"


class DirectRooms:
    """The direct chats of each user, kept in memory."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._rooms = AccountDataCache(db, DIRECT, parse_direct, max_bytes)

    async def of(self, user_nid: int) -> frozenset[str]:
        """The IDs of a user's direct chats."""
        return await self._rooms.get(user_nid)

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget the lists that changed."""
        self._rooms.heard(changes)


def parse_direct(content: bytes | None) -> frozenset[str]:
    """The rooms that `m.direct` names; what is malformed names none."""
    by_user = decode(content) if content is not None else None
    if not isinstance(by_user, dict):
        return frozenset()
    return frozenset(
        room_id
        for rooms in by_user.values()
        if isinstance(rooms, list)
        for room_id in rooms
        if isinstance(room_id, str)
    )
