"""What taking other servers' transactions needs of the database."""

from federation.protocol.identifiers import ServerName
from federation.protocol.room_versions import RoomVersion, get_room_version
from storage.database import Database
from storage.names import Names
from storage.received_transactions import find_answer, keep_answer


class KeptTransactions:
    """Remembers what transactions were answered, in the database."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find_answer(self, origin: ServerName, txn_id: str) -> bytes | None:
        """The answer to the transaction, or None if it has not been answered."""
        return await find_answer(self._db, origin, txn_id)

    async def keep_answer(
        self, origin: ServerName, txn_id: str, received_ts: int, answer: bytes
    ) -> None:
        """Remember the answer."""
        await keep_answer(self._db, origin, txn_id, received_ts, answer)


class KnownVersions:
    """The versions of the rooms that are here."""

    __slots__ = ("_names",)

    def __init__(self, names: Names) -> None:
        self._names = names

    async def find_version(self, room_id: str) -> RoomVersion | None:
        """The room's version, or None if this server does not know the room."""
        room = await self._names.rooms.find(room_id)
        return get_room_version(room.version_id) if room is not None else None
