"""Duties: work that one process does for all, most of it by following the stream.

Who does it is named by the number under which that process holds an advisory lock for as long as
it lives (`Committer.number`). So nothing has to be renewed, and when the process dies another one
may begin at once.
"""

from storage.committer import PEER_LOCK
from storage.database import Database

SENDING = "sending to other servers"
TELLING = "telling application services"
PUSHING = "pushing"
DELAYED_EVENTS = "sending delayed events"
CALL_LEAVES = "looking after leaves of calls"


TAKE = """
    UPDATE duties
       SET holder = $2
     WHERE name = $1 AND (holder IS NULL OR holder = $2 OR NOT EXISTS (
           SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted
              AND classid::integer = $3 AND objid::integer = holder
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
 RETURNING position
"""


async def take_duty(db: Database, name: str, number: int) -> int | None:
    """Make this process the one that does it.

    The position up to which it is done, or None if another process that is alive does it.
    """
    position: int | None = await db.fetchval(TAKE, name, number, PEER_LOCK)
    return position


HOLDS = "SELECT coalesce(holder = $2, false) FROM duties WHERE name = $1"


async def has_duty(db: Database, name: str, number: int) -> bool:
    """Whether this process is still the one that does it."""
    holds: bool = await db.fetchval(HOLDS, name, number)
    return holds


GIVE_UP = "UPDATE duties SET holder = NULL WHERE name = $1 AND holder = $2"


async def give_up_duty(db: Database, name: str, number: int) -> None:
    """Let another process do it."""
    await db.execute(GIVE_UP, name, number)


NOTE_POSITION = """
    UPDATE duties
       SET position = greatest(position, $3)
     WHERE name = $1 AND holder = $2
 RETURNING true
"""


async def note_duty_done(db: Database, name: str, number: int, position: int) -> bool:
    """Note up to where it is done; False if another process does it by now."""
    return await db.fetchval(NOTE_POSITION, name, number, position) is not None
