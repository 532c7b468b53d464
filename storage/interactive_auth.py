"""Sessions of user-interactive authentication that are under way."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from storage.database import Database


@dataclass(frozen=True, slots=True)
class AuthSession:
    """A session: the request it is for, and what each completed stage proved, in order."""

    session_id: str
    request_digest: bytes
    completed: Mapping[str, str]
    created_ts: int


INSERT_SESSION = """
    INSERT INTO interactive_auth_sessions (session_id, request_digest, completed, created_ts)
    VALUES ($1, $2, $3, $4)
"""


async def add_auth_session(db: Database, session: AuthSession) -> None:
    """Keep a new session."""
    await db.execute(
        INSERT_SESSION,
        session.session_id,
        session.request_digest,
        orjson.dumps(session.completed),
        session.created_ts,
    )


SELECT_SESSION = """
    SELECT session_id, request_digest, completed, created_ts
      FROM interactive_auth_sessions
     WHERE session_id = $1 AND created_ts > $2
"""


async def find_auth_session(
    db: Database, session_id: str, created_after: int
) -> AuthSession | None:
    """The session, or None if it is unknown or as old as `created_after`."""
    row = await db.fetchrow(SELECT_SESSION, session_id, created_after)
    if row is None:
        return None
    return AuthSession(row[0], row[1], orjson.loads(row[2]), row[3])


UPDATE_COMPLETED = "UPDATE interactive_auth_sessions SET completed = $2 WHERE session_id = $1"


async def set_completed_stages(db: Database, session_id: str, completed: Mapping[str, str]) -> None:
    """Note which stages are done."""
    await db.execute(UPDATE_COMPLETED, session_id, orjson.dumps(completed))


DELETE_SESSION = """
    DELETE FROM interactive_auth_sessions WHERE session_id = $1 RETURNING session_id
"""


async def take_auth_session(db: Database, session_id: str) -> bool:
    """End a session; False if somebody has ended it before."""
    return await db.fetchval(DELETE_SESSION, session_id) is not None


DELETE_OLD = """
    WITH deleted AS (
        DELETE FROM interactive_auth_sessions
         WHERE session_id = ANY(ARRAY(
               SELECT session_id
                 FROM interactive_auth_sessions
                WHERE created_ts <= $1
                ORDER BY created_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_old_auth_sessions(db: Database, created_before: int, limit: int) -> int:
    """Forget at most `limit` sessions that nobody finished in time; how many it were."""
    count: int = await db.fetchval(DELETE_OLD, created_before, limit)
    return count
