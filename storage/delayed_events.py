"""Delayed events: what users want to have sent later, and what became of it.

An event is scheduled until it is finalised: sent, failed, or cancelled. It is finalised in the
commit that adds the event to its room, so that it is sent exactly once, whoever tries and whenever
a process dies. Source: MSC4140.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from federation.protocol.identifiers import EventId, RoomId, UserId
from storage.database import Database


class AlreadyFinalised(Exception):
    """The delayed event was sent or cancelled meanwhile, or it is no longer due."""


@dataclass(frozen=True, slots=True)
class DelayedSending:
    """The delayed event that is sent as an event.

    `due_ts` is set where it is sent because it is due: it must still be so at the commit, as its
    user may have restarted it.
    """

    delay_nid: int
    delay_id: str
    ts: int
    due_ts: int | None


@dataclass(frozen=True, slots=True)
class NewDelayedEvent:
    """An event to be scheduled; None as `state_key` for a message event.

    `device_nid` and `path_digest` tell the request, where it has a transaction ID.
    """

    delay_id: str
    user_nid: int
    room_nid: int
    device_nid: int | None
    path_digest: int | None
    type: str
    state_key: str | None
    content: bytes
    origin_server_ts: int | None
    sticky_ms: int | None
    delay_ms: int
    scheduled_ts: int


@dataclass(frozen=True, slots=True)
class DelayedEvent:
    """A delayed event; `content` and `error` are JSON.

    It is scheduled while `finalised_ts` is None. Afterwards it was sent if it has an `event_id`,
    has failed if it has an `error`, and was cancelled otherwise.
    """

    delay_nid: int
    delay_id: str
    user_nid: int
    user_id: UserId
    room_nid: int
    room_id: RoomId
    type: str
    state_key: str | None
    content: bytes
    origin_server_ts: int | None
    sticky_ms: int | None
    delay_ms: int
    scheduled_ts: int
    due_ts: int
    finalised_ts: int | None
    event_id: EventId | None
    error: bytes | None

    @property
    def is_scheduled(self) -> bool:
        """Whether it is still to be sent."""
        return self.finalised_ts is None

    @property
    def is_sent(self) -> bool:
        """Whether it was sent."""
        return self.event_id is not None


COLUMNS = """
    d.delay_nid, d.delay_id, d.user_nid, u.user_id, d.room_nid, r.room_id, d.type, d.state_key,
    d.content, d.origin_server_ts, d.sticky_ms, d.delay_ms, d.scheduled_ts, d.due_ts,
    d.finalised_ts, e.event_id, d.error
"""
TABLES = """
      FROM delayed_events AS d
      JOIN users AS u USING (user_nid)
      JOIN rooms AS r USING (room_nid)
      LEFT JOIN events AS e ON e.event_nid = d.event_nid
"""

INSERT = """
    INSERT INTO delayed_events (
           delay_id, user_nid, room_nid, device_nid, path_digest, type, state_key, content,
           origin_server_ts, sticky_ms, delay_ms, scheduled_ts, due_ts)
    SELECT $1, $2::integer, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
     WHERE (SELECT count(*) FROM delayed_events WHERE user_nid = $2 AND finalised_ts IS NULL) < $14
        ON CONFLICT DO NOTHING
 RETURNING true
"""


async def add_delayed_event(db: Database, new: NewDelayedEvent, most: int) -> bool:
    """Schedule an event; False if its request was made before or the user has `most` scheduled."""
    made = await db.fetchval(
        INSERT,
        new.delay_id,
        new.user_nid,
        new.room_nid,
        new.device_nid,
        new.path_digest,
        new.type,
        new.state_key,
        new.content,
        new.origin_server_ts,
        new.sticky_ms,
        new.delay_ms,
        new.scheduled_ts,
        new.scheduled_ts + new.delay_ms,
        most,
    )
    return made is not None


SELECT_REQUESTED = """
    SELECT delay_id FROM delayed_events WHERE device_nid = $1 AND path_digest = $2
"""


async def find_requested(db: Database, device_nid: int, path_digest: int) -> str | None:
    """The ID of the delayed event that a request has scheduled, if it was made before."""
    delay_id: str | None = await db.fetchval(SELECT_REQUESTED, device_nid, path_digest)
    return delay_id


SELECT_BY_ID = f"SELECT {COLUMNS} {TABLES} WHERE d.delay_id = $1"


async def find_delayed_event(db: Database, delay_id: str) -> DelayedEvent | None:
    """The delayed event of this ID, if it is known."""
    row = await db.fetchrow(SELECT_BY_ID, delay_id)
    return None if row is None else DelayedEvent(*row)


SELECT_OF_USER = f"""
    SELECT {COLUMNS} {TABLES}
     WHERE d.user_nid = $1
       AND (d.finalised_ts IS NOT NULL) = $2
       AND (d.due_ts, d.delay_nid) > ($3, $4)
       AND ($5::text[] IS NULL OR d.delay_id = ANY($5))
     ORDER BY d.due_ts, d.delay_nid
     LIMIT $6
"""


async def delayed_events_of(
    db: Database,
    user_nid: int,
    *,
    finalised: bool,
    after: tuple[int, int],
    delay_ids: Collection[str] | None,
    limit: int,
) -> list[DelayedEvent]:
    """A user's delayed events after one's due time and number, in the order in which they are due.

    Either those that are scheduled or those that are not; of `delay_ids` only, unless that is None.
    """
    wanted = None if delay_ids is None else list(delay_ids)
    rows = await db.fetch(SELECT_OF_USER, user_nid, finalised, *after, wanted, limit)
    return [DelayedEvent(*row) for row in rows]


SELECT_DUE = f"""
    SELECT {COLUMNS} {TABLES}
     WHERE d.finalised_ts IS NULL AND d.due_ts <= $1 AND d.delay_nid <> ALL($2::bigint[])
     ORDER BY d.due_ts, d.delay_nid
     LIMIT $3
"""


async def due_delayed_events(
    db: Database, now: int, without: Collection[int], limit: int
) -> list[DelayedEvent]:
    """What is due, the longest first, but for some that are being sent."""
    return [DelayedEvent(*row) for row in await db.fetch(SELECT_DUE, now, list(without), limit)]


SELECT_NEXT = """
    SELECT min(due_ts)
      FROM delayed_events
     WHERE finalised_ts IS NULL AND delay_nid <> ALL($1::bigint[])
"""


async def next_due_ts(db: Database, without: Collection[int] = ()) -> int | None:
    """When the next delayed event is due, but for some; None if nothing is scheduled."""
    due_ts: int | None = await db.fetchval(SELECT_NEXT, list(without))
    return due_ts


SELECT_NEXT_OF_USER = """
    SELECT min(due_ts) FROM delayed_events WHERE user_nid = $1 AND finalised_ts IS NULL
"""


async def next_due_ts_of(db: Database, user_nid: int) -> int | None:
    """When the user's next delayed event is due; None if they have none."""
    due_ts: int | None = await db.fetchval(SELECT_NEXT_OF_USER, user_nid)
    return due_ts


RESTART = """
    UPDATE delayed_events
       SET scheduled_ts = $2, due_ts = $2 + delay_ms
     WHERE delay_id = $1 AND finalised_ts IS NULL AND ($3::integer IS NULL OR user_nid = $3)
 RETURNING true
"""


async def restart_delayed_event(db: Database, delay_id: str, now: int, owner: int | None) -> bool:
    """Have its delay begin anew; False if it is not scheduled, or not for a named `owner`."""
    return await db.fetchval(RESTART, delay_id, now, owner) is not None


CANCEL = """
    UPDATE delayed_events
       SET finalised_ts = $2
     WHERE delay_id = $1 AND finalised_ts IS NULL AND ($3::integer IS NULL OR user_nid = $3)
 RETURNING true
"""


async def cancel_delayed_event(db: Database, delay_id: str, now: int, owner: int | None) -> bool:
    """Have it never be sent; False if it is not scheduled, or not for a named `owner`."""
    return await db.fetchval(CANCEL, delay_id, now, owner) is not None


CANCEL_OF_USER = """
    UPDATE delayed_events SET finalised_ts = $2 WHERE user_nid = $1 AND finalised_ts IS NULL
"""


async def cancel_delayed_events_of(db: Database, user_nid: int, now: int) -> None:
    """Have nothing be sent that a user has scheduled."""
    await db.execute(CANCEL_OF_USER, user_nid, now)


FAIL = """
    UPDATE delayed_events
       SET finalised_ts = $2, error = $3
     WHERE delay_nid = $1 AND finalised_ts IS NULL AND due_ts = $4
"""


async def note_failed(db: Database, event: DelayedEvent, now: int, error: bytes) -> None:
    """Note why it could not be sent when it was due, unless it was restarted meanwhile."""
    await db.execute(FAIL, event.delay_nid, now, error, event.due_ts)


NOTE_SENT_AS = """
    UPDATE delayed_events
       SET finalised_ts = $2, event_nid = (SELECT event_nid FROM events WHERE event_id = $3)
     WHERE delay_nid = $1 AND finalised_ts IS NULL
"""


async def note_sent_as(db: Database, delay_nid: int, now: int, event_id: str) -> None:
    """Note that an event says what it was to say, unless that was noted when it was added."""
    await db.execute(NOTE_SENT_AS, delay_nid, now, event_id)


FINALISE_SENT = """
    UPDATE delayed_events AS d
       SET finalised_ts = sent.ts, event_nid = sent.event_nid
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS sent (delay_nid, ts, due_ts, event_nid)
     WHERE d.delay_nid = sent.delay_nid
       AND d.finalised_ts IS NULL
       AND (sent.due_ts IS NULL OR d.due_ts = sent.due_ts)
 RETURNING d.delay_nid
"""


async def finalise_sent(db: Database, sent: Sequence[tuple[DelayedSending, int]]) -> None:
    """Note the numbers of the events that delayed events have become, in the commit that adds them.

    Raises `AlreadyFinalised`.
    """
    rows = [(one.delay_nid, one.ts, one.due_ts, event_nid) for one, event_nid in sent]
    if len(await db.fetch(FINALISE_SENT, *map(list, zip(*rows, strict=True)))) != len(rows):
        raise AlreadyFinalised


DELETE_OLD = """
    WITH deleted AS (
        DELETE FROM delayed_events
         WHERE delay_nid = ANY(ARRAY(
               SELECT delay_nid
                 FROM delayed_events
                WHERE finalised_ts < $1
                ORDER BY finalised_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_finalised(db: Database, finalised_before: int, limit: int) -> int:
    """Forget at most `limit` delayed events that were finalised long ago; how many it were."""
    count: int = await db.fetchval(DELETE_OLD, finalised_before, limit)
    return count


DELETE_MANY = """
    WITH deleted AS (
        DELETE FROM delayed_events
         WHERE delay_nid = ANY(ARRAY(
               SELECT delay_nid
                 FROM (SELECT delay_nid,
                              row_number() OVER (PARTITION BY user_nid
                                                     ORDER BY finalised_ts DESC) AS rank
                         FROM delayed_events
                        WHERE finalised_ts IS NOT NULL) AS ranked
                WHERE rank > $1
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_more_than(db: Database, most: int, limit: int) -> int:
    """Forget the oldest of those finalised of which a user has more than `most`; how many."""
    count: int = await db.fetchval(DELETE_MANY, most, limit)
    return count
