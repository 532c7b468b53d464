"""Receipts: up to which event users have read a room or one of its threads.

The thread of an unthreaded receipt is ''. Private receipts are for their own user's eyes only,
so the readers for clients ask who is looking.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.changes import ReceiptMoved
from storage.committer import Write
from storage.database import Database

READ = "m.read"
READ_PRIVATE = "m.read.private"
UNTHREADED = ""
MAIN = "main"

UPSERT = """
    INSERT INTO receipts
           (room_nid, user_nid, receipt_type, thread_id, stream_position, event_id, ts)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::text[], $5::bigint[],
                         $6::text[], $7::bigint[])
        ON CONFLICT (room_nid, user_nid, receipt_type, thread_id)
        DO UPDATE SET stream_position = EXCLUDED.stream_position,
                      event_id = EXCLUDED.event_id,
                      ts = EXCLUDED.ts
"""


@dataclass(frozen=True, slots=True)
class MoveReceipt(Write):
    """A user's receipt is moved to an event."""

    room_nid: int
    user_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["MoveReceipt", int]]) -> None:
        """Write the last place of each receipt."""
        last = {
            (write.room_nid, write.user_nid, write.receipt_type, write.thread_id): (
                position,
                write.event_id,
                write.ts,
            )
            for write, position in placed
        }
        await db.execute(UPSERT, *zip(*last, strict=True), *zip(*last.values(), strict=True))

    def changes(self, position: int) -> Sequence[ReceiptMoved]:
        """The room hears of it, of a private receipt its user only."""
        return (
            ReceiptMoved(
                position,
                self.room_nid,
                self.user_nid,
                self.user_id,
                self.receipt_type,
                self.thread_id,
                self.event_id,
                self.ts,
            ),
        )


SELECT_AFTER = """
    SELECT r.stream_position, r.room_nid, r.user_nid, u.user_id, r.receipt_type, r.thread_id,
           r.event_id, r.ts
      FROM receipts AS r
      JOIN users AS u USING (user_nid)
     WHERE r.room_nid = ANY($1::integer[])
       AND r.stream_position > $3 AND r.stream_position <= $4
       AND (r.user_nid = $2 OR r.receipt_type <> 'm.read.private')
     ORDER BY r.stream_position
"""


async def receipts_after(
    db: Database, room_nids: Iterable[int], reader_nid: int, since: int, upto: int
) -> list[ReceiptMoved]:
    """The receipts that the reader may see and that moved after `since`, up to `upto`, in order."""
    rows = await db.fetch(SELECT_AFTER, list(room_nids), reader_nid, since, upto)
    return [ReceiptMoved(*row) for row in rows]


async def receipts_of_rooms(
    db: Database, room_nids: Iterable[int], reader_nid: int, upto: int
) -> list[ReceiptMoved]:
    """All receipts of the rooms that the reader may see, in the order of their positions."""
    return await receipts_after(db, room_nids, reader_nid, 0, upto)


SELECT_SINCE = """
    SELECT r.stream_position, r.room_nid, r.user_nid, u.user_id, r.receipt_type, r.thread_id,
           r.event_id, r.ts
      FROM unnest($1::integer[], $2::bigint[]) AS asked (room_nid, since)
      JOIN receipts AS r ON r.room_nid = asked.room_nid AND r.stream_position > asked.since
      JOIN users AS u USING (user_nid)
     WHERE r.stream_position <= $4
       AND (r.user_nid = $3 OR r.receipt_type <> 'm.read.private')
     ORDER BY r.stream_position
"""


async def receipts_since(
    db: Database, since: Mapping[int, int], reader_nid: int, upto: int
) -> list[ReceiptMoved]:
    """The receipts of each room that moved after a position (by room), up to `upto`, in order."""
    if not since:
        return []
    rows = await db.fetch(SELECT_SINCE, list(since), list(since.values()), reader_nid, upto)
    return [ReceiptMoved(*row) for row in rows]


SELECT_AT = """
    SELECT r.stream_position, r.room_nid, r.user_nid, u.user_id, r.receipt_type, r.thread_id,
           r.event_id, r.ts
      FROM receipts AS r
      JOIN users AS u USING (user_nid)
     WHERE r.room_nid = ANY($1::integer[])
       AND r.stream_position <= $4
       AND (r.user_nid = $2
            OR (r.receipt_type <> 'm.read.private' AND r.event_id = ANY($3::text[])))
     ORDER BY r.stream_position
"""


async def receipts_at(
    db: Database, room_nids: Iterable[int], reader_nid: int, event_ids: Iterable[str], upto: int
) -> list[ReceiptMoved]:
    """The reader's own receipts in the rooms, and others at chosen events, in order."""
    rows = await db.fetch(SELECT_AT, list(room_nids), reader_nid, list(event_ids), upto)
    return [ReceiptMoved(*row) for row in rows]


SELECT_CHANGED = """
    SELECT r.stream_position, r.room_nid, r.user_nid, u.user_id, r.receipt_type, r.thread_id,
           r.event_id, r.ts
      FROM receipts AS r
      JOIN users AS u USING (user_nid)
     WHERE r.stream_position > $1 AND r.stream_position <= $2
     ORDER BY r.stream_position
"""


async def changed_receipts(db: Database, since: int, upto: int) -> list[ReceiptMoved]:
    """The receipts of all rooms that moved after `since`, up to `upto`, in order."""
    return [ReceiptMoved(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


@dataclass(frozen=True, slots=True)
class ReadUpTo:
    """How far a receipt reaches: its event's position in the stream, None for an unknown event."""

    room_nid: int
    receipt_type: str
    thread_id: str
    event_id: str
    event_position: int | None


SELECT_READ_UP_TO = """
    SELECT r.room_nid, r.receipt_type, r.thread_id, r.event_id, e.stream_position
      FROM receipts AS r
      LEFT JOIN events AS e ON e.event_id = r.event_id
     WHERE r.room_nid = ANY($1::integer[]) AND r.user_nid = $2
"""


async def read_up_to(db: Database, room_nids: Iterable[int], user_nid: int) -> list[ReadUpTo]:
    """How far the user's own receipts reach in the rooms, public and private ones."""
    rows = await db.fetch(SELECT_READ_UP_TO, list(room_nids), user_nid)
    return [ReadUpTo(*row) for row in rows]


SELECT_STANDINGS = """
    SELECT wanted.number, new.stream_position, r.event_id, former.stream_position
      FROM unnest($1::integer[], $2::integer[], $3::text[], $4::text[]) WITH ORDINALITY
        AS wanted (room_nid, user_nid, thread_id, event_id, number)
      JOIN memberships AS m
        ON m.room_nid = wanted.room_nid AND m.user_nid = wanted.user_nid AND m.membership = 1
      LEFT JOIN events AS new
        ON new.event_id = wanted.event_id AND new.room_nid = wanted.room_nid
      LEFT JOIN receipts AS r
        ON r.room_nid = wanted.room_nid AND r.user_nid = wanted.user_nid
       AND r.receipt_type = 'm.read' AND r.thread_id = wanted.thread_id
      LEFT JOIN events AS former ON former.event_id = r.event_id
"""


async def movable_receipts(db: Database, receipts: Sequence[MoveReceipt]) -> list[MoveReceipt]:
    """Those of public receipts that would move forward, of users who are in the room.

    A receipt for an event that is not here counts as forward: the event may come later.
    """
    rows = await db.fetch(
        SELECT_STANDINGS,
        [one.room_nid for one in receipts],
        [one.user_nid for one in receipts],
        [one.thread_id for one in receipts],
        [one.event_id for one in receipts],
    )
    movable = []
    for number, position, former_id, former_position in rows:
        receipt = receipts[number - 1]
        is_behind = None not in (position, former_position) and position <= former_position
        if former_id != receipt.event_id and not is_behind:
            movable.append(receipt)
    return movable


SELECT_POSITIONS = """
    SELECT event_id, stream_position
      FROM events
     WHERE event_id = ANY($1::text[]) AND room_nid = $2
"""


async def event_positions(
    db: Database, room_nid: int, event_ids: Iterable[str]
) -> dict[str, int | None]:
    """Those of the events that are in the room, each with its position in the stream, if any."""
    return dict(await db.fetch(SELECT_POSITIONS, list(event_ids), room_nid))


SELECT_ANCESTORS = """
      WITH RECURSIVE ancestors (event_id, thread_id, hops) AS (
           SELECT $1::text, NULL::text, 0
            UNION ALL
           SELECT r.parent_event_id,
                  CASE r.rel_type WHEN 'm.thread' THEN r.parent_event_id END,
                  a.hops + 1
             FROM ancestors AS a
             JOIN events AS e ON e.event_id = a.event_id
             JOIN relations AS r USING (event_nid)
            WHERE a.thread_id IS NULL AND a.hops < $2)
    SELECT event_id, thread_id FROM ancestors ORDER BY hops
"""

MAX_HOPS = 3
"""How many relations are followed from an event to its thread, as the specification advises."""


@dataclass(frozen=True, slots=True)
class Threading:
    """The root of the event's thread, None in the main timeline; and what the event relates to."""

    thread_id: str | None
    ancestors: tuple[str, ...]

    def is_in(self, thread_id: str) -> bool:
        """Whether a receipt for the thread may name the event.

        A thread root and what relates to it are of the main timeline, but they are shown with the
        thread as well.
        """
        if thread_id == MAIN or self.thread_id is not None:
            return (self.thread_id or MAIN) == thread_id
        return thread_id in self.ancestors


async def threading_of(db: Database, event_id: str) -> Threading:
    """In which thread an event is. Source: client-server API, "Threaded read receipts"."""
    rows = await db.fetch(SELECT_ANCESTORS, event_id, MAX_HOPS)
    return Threading(rows[-1][1], tuple(row[0] for row in rows))
