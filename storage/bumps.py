"""When something was last said in rooms, as against events that only change or annotate."""

from collections.abc import Iterable, Mapping

from storage.database import Database

STEPS = (20, 500)
"""How far back rooms are searched; what is further back counts as if it were there."""

SELECT_BUMPS = """
    SELECT r.room_nid,
           max(e.stream_position) FILTER (WHERE e.type_nid = ANY($3::integer[])),
           min(e.stream_position)
      FROM unnest($1::integer[], $2::bigint[]) AS r (room_nid, upto)
     CROSS JOIN LATERAL (
           SELECT stream_position, type_nid
             FROM events
            WHERE events.room_nid = r.room_nid
              AND events.stream_position > 0
              AND events.stream_position <= r.upto
            ORDER BY events.stream_position DESC
            LIMIT $4) AS e
     GROUP BY r.room_nid
"""


async def last_bumps(
    db: Database, ends: Mapping[int, int], type_nids: Iterable[int]
) -> dict[int, int]:
    """The position of the last event of these types in each room, up to an end (by room)."""
    types = list(type_nids)
    found: dict[int, int] = {}
    missing = dict(ends)
    for step in STEPS:
        if not missing:
            break
        rows = await db.fetch(SELECT_BUMPS, list(missing), list(missing.values()), types, step)
        for room_nid, bump, oldest in rows:
            found[room_nid] = oldest if bump is None else bump
            if bump is not None:
                del missing[room_nid]
    return found
