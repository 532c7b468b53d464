"""Events of other servers that were taken and wait for what it takes to judge them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.committer import Write
from storage.database import Database

INSERT_HELD = """
    INSERT INTO held_events (room_nid, origin, event_id, json)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bytea[])
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class HoldEvents(Write):
    """Events of a room that a server has sent, as JSON by ID."""

    room_nid: int
    origin: str
    events: Mapping[str, bytes]

    @property
    def positions(self) -> int:
        """None: nobody hears of them yet."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["HoldEvents", int]]) -> None:
        """Insert those that are not held yet."""
        rows = [
            (write.room_nid, write.origin, event_id, encoded)
            for write, _ in placed
            for event_id, encoded in write.events.items()
        ]
        await db.execute(INSERT_HELD, *map(list, zip(*rows, strict=True)))


DELETE_HELD = """
    DELETE FROM held_events
     USING unnest($1::integer[], $2::text[], $3::text[]) AS gone (room_nid, origin, event_id)
     WHERE held_events.room_nid = gone.room_nid
       AND held_events.origin = gone.origin
       AND held_events.event_id = gone.event_id
"""


@dataclass(frozen=True, slots=True)
class ReleaseEvents(Write):
    """Events of a room and a server are held no more."""

    room_nid: int
    origin: str
    event_ids: Sequence[str]

    @property
    def positions(self) -> int:
        """None."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["ReleaseEvents", int]]) -> None:
        """Delete them."""
        rows = [(w.room_nid, w.origin, event_id) for w, _ in placed for event_id in w.event_ids]
        await db.execute(DELETE_HELD, *map(list, zip(*rows, strict=True)))


SELECT_HELD = "SELECT event_id, json FROM held_events WHERE room_nid = $1 AND origin = $2"


async def held_events(db: Database, room_nid: int, origin: str) -> dict[str, bytes]:
    """The events of a room and a server that are held, as JSON by ID."""
    return dict(await db.fetch(SELECT_HELD, room_nid, origin))


SELECT_HOLDING = "SELECT DISTINCT room_nid, origin FROM held_events"


async def all_holding(db: Database) -> set[tuple[int, str]]:
    """The rooms and servers of which any events are held."""
    return {(room_nid, origin) for room_nid, origin in await db.fetch(SELECT_HOLDING)}
