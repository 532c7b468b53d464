"""Proofs of addresses that are under way: a mail was sent, and its link may be opened."""

from dataclasses import dataclass

from storage.database import Database


@dataclass(frozen=True, slots=True)
class ValidationSession:
    """A proof of an address; `purpose` says what for."""

    session_id: str
    purpose: str
    medium: str
    address: str
    client_secret: str
    send_attempt: int
    token_hash: bytes | None
    next_link: str | None
    validated_ts: int | None
    created_ts: int


COLUMNS = """
    session_id, purpose, medium, address, client_secret, send_attempt, token_hash, next_link,
    validated_ts, created_ts
"""

SELECT_SAME = f"""
    SELECT {COLUMNS}
      FROM validation_sessions
     WHERE purpose = $1 AND medium = $2 AND address = $3 AND client_secret = $4
       AND created_ts > $5
"""  # noqa: S608 - constants of ours


async def find_same_session(
    db: Database, purpose: str, medium: str, address: str, client_secret: str, created_after: int
) -> ValidationSession | None:
    """The session that a client has begun before for the same, unless it is too old."""
    row = await db.fetchrow(SELECT_SAME, purpose, medium, address, client_secret, created_after)
    return None if row is None else ValidationSession(*row)


UPSERT = f"""
    INSERT INTO validation_sessions ({COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (purpose, medium, address, client_secret)
        DO UPDATE SET session_id = excluded.session_id,
                      send_attempt = excluded.send_attempt,
                      token_hash = excluded.token_hash,
                      next_link = excluded.next_link,
                      validated_ts = excluded.validated_ts,
                      created_ts = excluded.created_ts
"""  # noqa: S608 - constants of ours


async def keep_session(db: Database, session: ValidationSession) -> None:
    """Keep a session in place of an earlier one for the same."""
    await db.execute(
        UPSERT,
        session.session_id,
        session.purpose,
        session.medium,
        session.address,
        session.client_secret,
        session.send_attempt,
        session.token_hash,
        session.next_link,
        session.validated_ts,
        session.created_ts,
    )


SELECT_SESSION = f"""
    SELECT {COLUMNS}
      FROM validation_sessions
     WHERE session_id = $1 AND client_secret = $2 AND created_ts > $3
"""  # noqa: S608 - constants of ours


async def find_session(
    db: Database, session_id: str, client_secret: str, created_after: int
) -> ValidationSession | None:
    """The session, unless the secret is another one or it is too old."""
    row = await db.fetchrow(SELECT_SESSION, session_id, client_secret, created_after)
    return None if row is None else ValidationSession(*row)


VALIDATE = """
    UPDATE validation_sessions
       SET validated_ts = coalesce(validated_ts, $2)
     WHERE session_id = $1
"""


async def mark_validated(db: Database, session_id: str, now: int) -> None:
    """Note that the address is proved."""
    await db.execute(VALIDATE, session_id, now)


DELETE_SESSION = "DELETE FROM validation_sessions WHERE session_id = $1 RETURNING true"


async def take_session(db: Database, session_id: str) -> bool:
    """End a session, which proves nothing any more; False if somebody has ended it before."""
    return await db.fetchval(DELETE_SESSION, session_id) is not None


DELETE_OLD = """
    WITH deleted AS (
        DELETE FROM validation_sessions
         WHERE session_id = ANY(ARRAY(
               SELECT session_id
                 FROM validation_sessions
                WHERE created_ts <= $1
                ORDER BY created_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_old_sessions(db: Database, created_before: int, limit: int) -> int:
    """Forget at most `limit` sessions that have come to an end; how many it were."""
    count: int = await db.fetchval(DELETE_OLD, created_before, limit)
    return count
