"""Delayed leaves that are in our hands: one for each participant of a call."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from storage.database import Database


@dataclass(frozen=True, slots=True)
class StoredLeave:
    """A participant's delayed leave; `server` has the delayed event, times are milliseconds."""

    room: str
    identity: str
    server: ServerName
    delay_id: str
    delay_ms: int
    phase: int
    since_ts: int
    expires_ts: int


COLUMNS = "room, identity, server, delay_id, delay_ms, phase, since_ts, expires_ts"

PUT = f"""
    INSERT INTO call_leaves ({COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (room, identity) DO UPDATE
       SET server = excluded.server, delay_id = excluded.delay_id, delay_ms = excluded.delay_ms,
           phase = excluded.phase, since_ts = excluded.since_ts, expires_ts = excluded.expires_ts
"""  # noqa: S608 - a constant of ours


async def put_leave(db: Database, leave: StoredLeave) -> None:
    """Look after a leave; it takes the place of the participant's former one."""
    await db.execute(
        PUT,
        leave.room,
        leave.identity,
        leave.server,
        leave.delay_id,
        leave.delay_ms,
        leave.phase,
        leave.since_ts,
        leave.expires_ts,
    )


UPDATE = """
    UPDATE call_leaves
       SET phase = $4, since_ts = $5, expires_ts = $6
     WHERE room = $1 AND identity = $2 AND delay_id = $3
"""


async def note_leave(db: Database, leave: StoredLeave) -> None:
    """Note how far a leave is, unless another one has taken its place."""
    await db.execute(
        UPDATE,
        leave.room,
        leave.identity,
        leave.delay_id,
        leave.phase,
        leave.since_ts,
        leave.expires_ts,
    )


DELETE = "DELETE FROM call_leaves WHERE room = $1 AND identity = $2 AND delay_id = $3"


async def delete_leave(db: Database, room: str, identity: str, delay_id: str) -> None:
    """Look after a leave no more."""
    await db.execute(DELETE, room, identity, delay_id)


SELECT = f"SELECT {COLUMNS} FROM call_leaves"  # noqa: S608 - a constant of ours


async def all_leaves(db: Database) -> list[StoredLeave]:
    """All that are looked after."""
    return [StoredLeave(*row) for row in await db.fetch(SELECT)]


SELECT_ONE = f"""
    SELECT {COLUMNS} FROM call_leaves WHERE room = $1 AND identity = $2
"""  # noqa: S608 - a constant of ours


async def find_leave(db: Database, room: str, identity: str) -> StoredLeave | None:
    """A participant's leave, if it is looked after."""
    row = await db.fetchrow(SELECT_ONE, room, identity)
    return None if row is None else StoredLeave(*row)
