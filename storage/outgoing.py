"""What other servers still have to get: marks of rooms, queued EDUs, events to pass on.

An event is not stored once for each server that is to have it. Which servers are follows from the
room's state at the event, and how far they have got follows from one position for all of them and,
for a server that cannot be reached, from a mark for each of its rooms in which something happened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from federation.protocol.identifiers import ServerName
from storage.changes import Change, EdusQueued, EventRelayed, StoredEvent
from storage.committer import Write
from storage.database import Database, Pool
from storage.duties import SENDING, note_duty_done
from storage.events import COLUMNS, event_of_row

INSERT_EDUS = """
    INSERT INTO outgoing_edus (destination, stream_position, queued_ts, edu)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
"""


@dataclass(frozen=True, slots=True)
class QueueEdus(Write):
    """EDUs that must not be lost, one for each of some servers, in canonical JSON."""

    edus: Mapping[ServerName, bytes]
    queued_ts: int

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["QueueEdus", int]]) -> None:
        """Insert them."""
        rows = [
            (destination, position, write.queued_ts, edu)
            for write, position in placed
            for destination, edu in write.edus.items()
        ]
        if rows:
            await db.execute(INSERT_EDUS, *map(list, zip(*rows, strict=True)))

    def changes(self, position: int) -> Sequence[Change]:
        """The sender hears of it."""
        return (EdusQueued(position, tuple(self.edus)),)


INSERT_RELAYED = """
    INSERT INTO relayed_events (event_nid, stream_position)
    SELECT * FROM unnest($1::bigint[], $2::bigint[])
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class RelayEvent(Write):
    """An event of another server's user that this server has let into a room and passes on.

    It is committed together with the event, after it.
    """

    order: ClassVar[int] = 60

    event_nid: int

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["RelayEvent", int]]) -> None:
        """Note the events."""
        await db.execute(
            INSERT_RELAYED,
            [write.event_nid for write, _ in placed],
            [position for _, position in placed],
        )

    def changes(self, position: int) -> Sequence[Change]:
        """The sender hears of it."""
        return (EventRelayed(position, self.event_nid),)


SELECT_QUEUED_BETWEEN = """
    SELECT stream_position, array_agg(destination)
      FROM outgoing_edus
     WHERE stream_position > $1 AND stream_position <= $2
     GROUP BY stream_position
"""

SELECT_RELAYED_BETWEEN = """
    SELECT stream_position, event_nid
      FROM relayed_events
     WHERE stream_position > $1 AND stream_position <= $2
"""


async def changed_outgoing(db: Database, since: int, upto: int) -> list[Change]:
    """What was queued or is to be passed on, after `since`, up to `upto`."""
    queued = await db.fetch(SELECT_QUEUED_BETWEEN, since, upto)
    relayed = await db.fetch(SELECT_RELAYED_BETWEEN, since, upto)
    return [
        *(EdusQueued(position, tuple(map(ServerName, names))) for position, names in queued),
        *(EventRelayed(position, event_nid) for position, event_nid in relayed),
    ]


SELECT_WAITING = """
    SELECT DISTINCT destination FROM outgoing_rooms
     UNION
    SELECT DISTINCT destination FROM outgoing_edus
"""


async def waiting_destinations(db: Database) -> list[ServerName]:
    """The servers that lack something."""
    return [ServerName(name) for (name,) in await db.fetch(SELECT_WAITING)]


SELECT_MISSED = "SELECT room_nid, missed_from FROM outgoing_rooms WHERE destination = $1"


async def missed_rooms(db: Database, destination: str) -> dict[int, int]:
    """The rooms of which a server lacks events, each with the first position of these."""
    return dict(await db.fetch(SELECT_MISSED, destination))


SELECT_EDUS = """
    SELECT stream_position, edu
      FROM outgoing_edus
     WHERE destination = $1 AND stream_position > $2
     ORDER BY stream_position
     LIMIT $3
"""


async def queued_edus(
    db: Database, destination: str, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """The next EDUs for a server after a position, each with its own."""
    return [(row[0], row[1]) for row in await db.fetch(SELECT_EDUS, destination, after, limit)]


OWN = """
    e.standing = 0
    AND (substr(u.user_id, strpos(u.user_id, ':') + 1) = $1
         OR EXISTS (SELECT FROM relayed_events AS r WHERE r.event_nid = e.event_nid))
"""
"""Whether an event `e` of a sender `u` is for this server ($1) to send."""

SELECT_OWN_BETWEEN = f"""
    SELECT {COLUMNS}
      FROM events AS e
      JOIN users AS u ON u.user_nid = e.sender_nid
     WHERE {OWN}
       AND e.stream_position > $2 AND e.stream_position <= $3
     ORDER BY e.stream_position
     LIMIT $4
"""  # noqa: S608 - constants of ours


async def own_events_between(
    db: Database, server_name: str, since: int, upto: int, limit: int
) -> list[StoredEvent]:
    """The next events that are ours to send after `since`, up to `upto`, in order."""
    rows = await db.fetch(SELECT_OWN_BETWEEN, server_name, since, upto, limit)
    return [event_of_row(row) for row in rows]


SELECT_OWN_OF_ROOMS = f"""
    SELECT {COLUMNS}
      FROM unnest($2::integer[], $3::bigint[]) WITH ORDINALITY AS wanted (room_nid, since, turn)
      CROSS JOIN LATERAL (
           SELECT coalesce((
                  SELECT e.stream_position
                    FROM events AS e
                    JOIN users AS u ON u.user_nid = e.sender_nid
                   WHERE {OWN}
                     AND e.room_nid = wanted.room_nid
                     AND e.stream_position BETWEEN wanted.since AND $4
                   ORDER BY e.stream_position DESC
                  OFFSET $6 - 1 LIMIT 1), wanted.since)) AS first (position)
      CROSS JOIN LATERAL (
           SELECT e.*
             FROM sticky_events AS s
             JOIN events AS e ON e.event_nid = s.event_nid
             JOIN users AS u ON u.user_nid = e.sender_nid
            WHERE {OWN}
              AND s.room_nid = wanted.room_nid
              AND s.expires_ts > $7
              AND e.stream_position >= wanted.since
              AND e.stream_position < first.position
           UNION ALL (
           SELECT e.*
             FROM events AS e
             JOIN users AS u ON u.user_nid = e.sender_nid
            WHERE {OWN}
              AND e.room_nid = wanted.room_nid
              AND e.stream_position BETWEEN first.position AND $4
            ORDER BY e.stream_position
            LIMIT $5)
            ORDER BY stream_position
            LIMIT $5) AS e
     ORDER BY wanted.turn, e.stream_position
"""  # noqa: S608


async def own_events_of_rooms(
    db: Database,
    server_name: str,
    rooms: Mapping[int, int],
    upto: int,
    now: int,
    *,
    limit: int,
    latest: int,
) -> dict[int, list[StoredEvent]]:
    """Of each room the next `limit` events that are ours to send, from its position to `upto`.

    Only the `latest` such events of a room count, and those before that are still sticky.
    """
    rows = await db.fetch(
        SELECT_OWN_OF_ROOMS,
        server_name,
        list(rooms),
        list(rooms.values()),
        upto,
        limit,
        latest,
        now,
    )
    found: dict[int, list[StoredEvent]] = {room_nid: [] for room_nid in rooms}
    for row in rows:
        event = event_of_row(row)
        found[event.room_nid].append(event)
    return found


@dataclass(frozen=True, slots=True)
class Sent:
    """What sending has come to: changes of marks, EDUs that were delivered, and the position.

    `new_marks` stand unless there is a mark already, `moved_marks` in any case.
    """

    position: int
    new_marks: Mapping[tuple[ServerName, int], int]
    moved_marks: Mapping[tuple[ServerName, int], int]
    ended_marks: Iterable[tuple[ServerName, int]]
    edus: Mapping[ServerName, int]


INSERT_MARKS = """
    INSERT INTO outgoing_rooms (destination, room_nid, missed_from)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
    ON CONFLICT (destination, room_nid) DO NOTHING
"""

UPSERT_MARKS = """
    INSERT INTO outgoing_rooms (destination, room_nid, missed_from)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
    ON CONFLICT (destination, room_nid) DO UPDATE SET missed_from = excluded.missed_from
"""

DELETE_MARKS = """
    DELETE FROM outgoing_rooms
     USING unnest($1::text[], $2::integer[]) AS ended (destination, room_nid)
     WHERE outgoing_rooms.destination = ended.destination
       AND outgoing_rooms.room_nid = ended.room_nid
"""

DELETE_EDUS = """
    DELETE FROM outgoing_edus
     USING unnest($1::text[], $2::bigint[]) AS delivered (destination, upto)
     WHERE outgoing_edus.destination = delivered.destination
       AND outgoing_edus.stream_position <= delivered.upto
"""


async def keep_sent(pool: Pool, number: int, sent: Sent) -> bool:
    """Keep it, if this process is the one that sends.

    The disk is not waited for: what is lost with the machine's power is sent again.
    """
    async with pool.transaction() as db:
        await db.execute("SET LOCAL synchronous_commit TO off")
        if not await note_duty_done(db, SENDING, number, sent.position):
            return False
        for statement, marks in (INSERT_MARKS, sent.new_marks), (UPSERT_MARKS, sent.moved_marks):
            if marks:
                names, rooms = zip(*marks, strict=True)
                await db.execute(statement, names, rooms, list(marks.values()))
        ended = list(sent.ended_marks)
        if ended:
            await db.execute(DELETE_MARKS, *map(list, zip(*ended, strict=True)))
        if sent.edus:
            await db.execute(DELETE_EDUS, list(sent.edus), list(sent.edus.values()))
    return True


DELETE_OLD_EDUS = """
      WITH old AS (
           DELETE FROM outgoing_edus
            WHERE (destination, stream_position) IN (
                  SELECT destination, stream_position
                    FROM outgoing_edus
                   WHERE queued_ts < $1
                   LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM old
"""


async def delete_old_edus(db: Database, queued_before: int, limit: int) -> int:
    """Give up at most `limit` EDUs that were queued before a time; how many it were."""
    count: int = await db.fetchval(DELETE_OLD_EDUS, queued_before, limit)
    return count
