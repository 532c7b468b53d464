"""When a pusher by mail told of each room last, and how long it waits until it may again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.database import Database


@dataclass(frozen=True, slots=True)
class Throttle:
    """The last mail about a room, and the pause after it."""

    sent_ts: int
    throttle_ms: int


SELECT = """
    SELECT room_nid, sent_ts, throttle_ms
      FROM mail_throttles
     WHERE pusher_nid = $1 AND room_nid = ANY($2::integer[])
"""


async def throttles_of(
    db: Database, pusher_nid: int, room_nids: Iterable[int]
) -> dict[int, Throttle]:
    """The throttles of those of the rooms that a mail told of before."""
    rows = await db.fetch(SELECT, pusher_nid, list(room_nids))
    return {room_nid: Throttle(sent_ts, throttle_ms) for room_nid, sent_ts, throttle_ms in rows}


UPSERT = """
    INSERT INTO mail_throttles (pusher_nid, room_nid, sent_ts, throttle_ms)
    SELECT $1, * FROM unnest($2::integer[], $3::bigint[], $4::bigint[])
        ON CONFLICT (pusher_nid, room_nid)
        DO UPDATE SET sent_ts = excluded.sent_ts, throttle_ms = excluded.throttle_ms
"""


async def set_throttles(db: Database, pusher_nid: int, throttles: Mapping[int, Throttle]) -> None:
    """Note that a mail told of rooms."""
    await db.execute(
        UPSERT,
        pusher_nid,
        list(throttles),
        [one.sent_ts for one in throttles.values()],
        [one.throttle_ms for one in throttles.values()],
    )
