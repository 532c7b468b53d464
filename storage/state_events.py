"""State events of a room, chosen from a snapshot or from the current state."""

from collections.abc import Iterable, Sequence

from storage.changes import Membership, StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.timeline import Criteria

SELECT_CHOSEN = f"""
    SELECT {COLUMNS}
      FROM events AS e
     WHERE e.event_nid = ANY($1::bigint[])
       AND ($2::text[] IS NULL OR e.type_nid = ANY(ARRAY(
           SELECT type_nid FROM event_types WHERE type LIKE ANY($2))))
       AND ($3::text[] = '{{}}' OR e.type_nid <> ALL(ARRAY(
           SELECT type_nid FROM event_types WHERE type LIKE ANY($3))))
       AND ($4::integer[] IS NULL OR e.sender_nid = ANY($4))
       AND e.sender_nid <> ALL($5::integer[])
       AND ($6::integer[] IS NULL
            OR e.place_nid = ANY($6)
            OR e.type_nid <> ALL(ARRAY(
               SELECT type_nid FROM event_types WHERE type = 'm.room.member')))
     ORDER BY e.event_nid
"""  # noqa: S608 - constants of ours


async def choose_events(
    db: Database,
    event_nids: Iterable[int],
    criteria: Criteria,
    member_places: Sequence[int] | None = None,
) -> list[StoredEvent]:
    """Those of the events whose type and sender meet the criteria, in the order of arrival.

    With `member_places`, of the members only those at these places.
    """
    rows = await db.fetch(
        SELECT_CHOSEN,
        list(event_nids),
        criteria.types,
        criteria.not_types,
        criteria.senders,
        criteria.not_senders,
        member_places,
    )
    return [event_of_row(row) for row in rows]


SELECT_MEMBERS = f"""
    SELECT {COLUMNS}
      FROM memberships AS m
      JOIN events AS e USING (event_nid)
     WHERE m.room_nid = $1 AND m.membership = ANY($2::smallint[])
     ORDER BY m.event_nid
"""  # noqa: S608


async def current_members(
    db: Database, room_nid: int, memberships: Iterable[Membership]
) -> list[StoredEvent]:
    """The current events of a room's members with one of these memberships."""
    rows = await db.fetch(SELECT_MEMBERS, room_nid, list(memberships))
    return [event_of_row(row) for row in rows]


SELECT_CURRENT_STATES = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[])
     ORDER BY s.event_nid
"""  # noqa: S608


async def current_states(db: Database, room_nids: Iterable[int]) -> dict[int, list[StoredEvent]]:
    """The whole current states of rooms, in the order of arrival."""
    states: dict[int, list[StoredEvent]] = {nid: [] for nid in room_nids}
    for row in await db.fetch(SELECT_CURRENT_STATES, list(states)):
        event = event_of_row(row)
        states[event.room_nid].append(event)
    return states
