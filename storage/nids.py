"""Numbers for events and snapshots, drawn from PostgreSQL's sequences in blocks.

An event must have its number before it is written, because others in the same commit refer to
it. Blocks make that cost nothing; numbers left over at the end of a process are never used.
"""

from storage.database import Database

BLOCK = 500

SELECT_BLOCK = "SELECT array_agg(nextval($1::regclass)) FROM generate_series(1, $2::integer)"


class NidSequence:
    """Hands out the numbers of one sequence; concurrent callers never get the same."""

    def __init__(self, db: Database, sequence: str) -> None:
        self._db = db
        self._sequence = sequence
        self._left: list[int] = []

    async def take(self, count: int = 1) -> list[int]:
        """The next `count` numbers, in rising order."""
        while len(self._left) < count:
            block = await self._db.fetchval(SELECT_BLOCK, self._sequence, max(BLOCK, count))
            self._left = sorted([*self._left, *block], reverse=True)
        return [self._left.pop() for _ in range(count)]


class Nids:
    """The sequences that writers of events draw on."""

    def __init__(self, db: Database) -> None:
        self.events = NidSequence(db, "event_nids")
        self.snapshots = NidSequence(db, "snapshot_nids")
