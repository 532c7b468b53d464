"""Event rows: reading them by number and by ID."""

from collections.abc import Iterable, Sequence
from typing import Any

from federation.protocol.canonical_json import decode
from storage.changes import StoredEvent
from storage.database import Database

COLUMNS = """
    e.event_nid, e.stream_position, e.depth, e.room_nid, e.sender_nid, e.place_nid,
    e.snapshot_nid, e.replaces_nid, e.redacted_by, e.standing, e.event_id, e.json
"""
"""What `event_of_row` reads, of a table called `e`."""


def event_of_row(row: Sequence[Any]) -> StoredEvent:
    """The event of a row that has `COLUMNS`."""
    nid, position, depth, room, sender, place, snapshot, replaces, redacted, standing, id_, json = (
        row
    )
    return StoredEvent(
        nid,
        position,
        depth,
        room,
        sender,
        place,
        snapshot,
        replaces,
        redacted,
        standing,
        id_,
        json,
        decode(json),
    )


SELECT_BY_NID = f"SELECT {COLUMNS} FROM events AS e WHERE e.event_nid = ANY($1::bigint[])"  # noqa: S608
SELECT_BY_ID = f"SELECT {COLUMNS} FROM events AS e WHERE e.event_id = ANY($1::text[])"  # noqa: S608


async def get_events(db: Database, event_nids: Iterable[int]) -> dict[int, StoredEvent]:
    """The events of these numbers, by number."""
    wanted = list(event_nids)
    if not wanted:
        return {}
    return {row[0]: event_of_row(row) for row in await db.fetch(SELECT_BY_NID, wanted)}


async def find_events(db: Database, event_ids: Iterable[str]) -> dict[str, StoredEvent]:
    """Those of the events that we have, in whatever standing, by ID."""
    wanted = list(event_ids)
    if not wanted:
        return {}
    events = [event_of_row(row) for row in await db.fetch(SELECT_BY_ID, wanted)]
    return {event.event_id: event for event in events}


async def find_event(db: Database, event_id: str) -> StoredEvent | None:
    """The event of this ID, in whatever standing, or None."""
    return (await find_events(db, (event_id,))).get(event_id)


SELECT_IDS = "SELECT event_nid, event_id FROM events WHERE event_nid = ANY($1::bigint[])"


async def get_event_ids(db: Database, event_nids: Iterable[int]) -> dict[int, str]:
    """The IDs of these numbers."""
    rows = await db.fetch(SELECT_IDS, list(event_nids))
    return dict(rows)
