"""Sticky events: which events of late everybody in their rooms has to be told of, and until when.

Most of them take a place in a timeline like any other event. Those that the current state of the
room forbids are held, as the state may come to allow them while they are sticky; those that
happened before others that are here are told all the same. Source: MSC4354.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.changes import Change, StickyEventAdded, StoredEvent
from storage.committer import Write
from storage.database import Database
from storage.events import COLUMNS, event_of_row

UPSERT = """
    INSERT INTO sticky_events (event_nid, room_nid, stream_position, expires_ts)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[])
        ON CONFLICT (event_nid) DO UPDATE SET stream_position = excluded.stream_position
"""


@dataclass(frozen=True, slots=True)
class StickEvent(Write):
    """An event is sticky; if it is held, nobody is told yet.

    It is committed together with the event, after it, or later for an event that was held.
    """

    order: ClassVar[int] = 25

    event_nid: int
    room_nid: int
    expires_ts: int
    is_held: bool = False

    @property
    def positions(self) -> int:
        """One for what is told."""
        return 0 if self.is_held else 1

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["StickEvent", int]]) -> None:
        """Note the events."""
        rows = [
            (write.event_nid, write.room_nid, None if write.is_held else at, write.expires_ts)
            for write, at in placed
        ]
        await db.execute(UPSERT, *map(list, zip(*rows, strict=True)))

    def changes(self, position: int) -> Sequence[Change]:
        """Everybody in the room hears of it."""
        if self.is_held:
            return ()
        return (StickyEventAdded(position, self.room_nid, self.event_nid, self.expires_ts),)


@dataclass(frozen=True, slots=True)
class StickyEvent:
    """An event that is sticky, from its position in the stream of those until it expires."""

    event: StoredEvent
    position: int
    expires_ts: int


SELECT_AFTER = f"""
    SELECT {COLUMNS}, s.stream_position, s.expires_ts
      FROM unnest($1::integer[], $2::bigint[]) AS wanted (room_nid, since)
      JOIN sticky_events AS s
        ON s.room_nid = wanted.room_nid AND s.stream_position > wanted.since
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE s.stream_position <= $3 AND s.expires_ts > $4 AND e.redacted_by IS NULL
     ORDER BY s.stream_position
     LIMIT $5
"""  # noqa: S608 - constants of ours


async def sticky_events_after(
    db: Database, since: Mapping[int, int], upto: int, now: int, limit: int
) -> list[StickyEvent]:
    """The next sticky events of rooms, each after a position (exclusive), the oldest in front."""
    rows = await db.fetch(SELECT_AFTER, list(since), list(since.values()), upto, now, limit)
    return [
        StickyEvent(event_of_row(columns), position, expires_ts)
        for *columns, position, expires_ts in rows
    ]


SELECT_LAST_EXPIRY = "SELECT coalesce(max(expires_ts), 0) FROM sticky_events"


async def last_expiry(db: Database) -> int:
    """When the last of all sticky events expires; 0 if there is none."""
    expires_ts: int = await db.fetchval(SELECT_LAST_EXPIRY)
    return expires_ts


SELECT_EXPIRY = (
    "SELECT event_nid, expires_ts FROM sticky_events WHERE event_nid = ANY($1::bigint[])"
)


async def expiry_of(db: Database, event_nids: Collection[int]) -> dict[int, int]:
    """When events cease to be sticky, for those that are."""
    return dict(await db.fetch(SELECT_EXPIRY, list(event_nids)))


SELECT_HELD = f"""
    SELECT {COLUMNS}, s.expires_ts
      FROM sticky_events AS s
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE s.room_nid = ANY($1::integer[])
       AND s.stream_position IS NULL
       AND s.expires_ts > $2
     ORDER BY s.event_nid
"""  # noqa: S608 - constants of ours


@dataclass(frozen=True, slots=True)
class HeldSticky:
    """A sticky event that is held, until it expires."""

    event: StoredEvent
    expires_ts: int


async def held_sticky_events(
    db: Database, room_nids: Collection[int], now: int
) -> list[HeldSticky]:
    """The sticky events of rooms that are held."""
    rows = await db.fetch(SELECT_HELD, list(room_nids), now)
    return [HeldSticky(event_of_row(columns), expires_ts) for *columns, expires_ts in rows]


SELECT_HOLDING = """
    SELECT DISTINCT room_nid FROM sticky_events WHERE stream_position IS NULL AND expires_ts > $1
"""


async def rooms_with_held(db: Database, now: int) -> set[int]:
    """The rooms in which sticky events are held."""
    return {row[0] for row in await db.fetch(SELECT_HOLDING, now)}


SELECT_CHANGED = """
    SELECT stream_position, room_nid, event_nid, expires_ts
      FROM sticky_events
     WHERE stream_position > $1 AND stream_position <= $2
"""


async def changed_sticky_events(db: Database, since: int, upto: int) -> list[StickyEventAdded]:
    """The events that became sticky in a stretch of the stream."""
    return [StickyEventAdded(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


OWN = """
    s.expires_ts > $2
    AND e.standing = 0 AND e.stream_position > 0 AND e.redacted_by IS NULL
    AND substr(u.user_id, strpos(u.user_id, ':') + 1) = $3
"""
"""Whether a sticky event `s`, `e` of a sender `u` is for this server ($3) to send."""

SELECT_OWN = f"""
    SELECT {COLUMNS}
      FROM sticky_events AS s
      JOIN events AS e ON e.event_nid = s.event_nid
      JOIN users AS u ON u.user_nid = e.sender_nid
     WHERE s.room_nid = ANY($1::integer[]) AND {OWN}
     ORDER BY e.stream_position
     LIMIT $4
"""  # noqa: S608 - constants of ours


async def own_sticky_events(
    db: Database, room_nids: Iterable[int], now: int, server_name: str, limit: int
) -> list[StoredEvent]:
    """The sticky events of our users in rooms, in order."""
    rows = await db.fetch(SELECT_OWN, list(room_nids), now, server_name, limit)
    return [event_of_row(row) for row in rows]


SELECT_STICKY_AMONG = """
    SELECT event_nid FROM sticky_events WHERE event_nid = ANY($1::bigint[]) AND expires_ts > $2
"""


async def sticky_among(db: Database, event_nids: Iterable[int], now: int) -> set[int]:
    """Those of the events that are sticky."""
    rows = await db.fetch(SELECT_STICKY_AMONG, list(event_nids), now)
    return {row[0] for row in rows}


DELETE_EXPIRED = """
    WITH deleted AS (
        DELETE FROM sticky_events
         WHERE event_nid = ANY(ARRAY(
               SELECT event_nid FROM sticky_events WHERE expires_ts < $1 LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_expired_sticky_events(db: Database, expired_before: int, limit: int) -> int:
    """Forget at most `limit` events that are sticky no longer; how many it were."""
    count: int = await db.fetchval(DELETE_EXPIRED, expired_before, limit)
    return count
