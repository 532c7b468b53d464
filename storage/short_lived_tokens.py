"""Secrets that prove for a short while who somebody is: login tokens and OpenID tokens.

Only their SHA-256 is kept.
"""

from federation.protocol.identifiers import UserId
from storage.database import Database

INSERT = """
    INSERT INTO short_lived_tokens (token_hash, purpose, user_nid, expires_ts)
    VALUES ($1, $2, $3, $4)
"""
DELETE_EXPIRED = """
    WITH deleted AS (
        DELETE FROM short_lived_tokens
         WHERE token_hash = ANY(ARRAY(
               SELECT token_hash
                 FROM short_lived_tokens
                WHERE expires_ts <= $1
                ORDER BY expires_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def add_short_lived_token(
    db: Database, token_hash: bytes, purpose: str, user_nid: int, expires_ts: int
) -> None:
    """Keep a new token."""
    await db.execute(INSERT, token_hash, purpose, user_nid, expires_ts)


async def delete_expired_tokens(db: Database, now: int, limit: int) -> int:
    """Delete at most `limit` tokens that have expired; how many it were."""
    count: int = await db.fetchval(DELETE_EXPIRED, now, limit)
    return count


SELECT_USER = """
    SELECT u.user_id
      FROM short_lived_tokens AS t
      JOIN users AS u USING (user_nid)
     WHERE t.token_hash = $1 AND t.purpose = $2 AND t.expires_ts > $3
"""


async def find_token_user(db: Database, token_hash: bytes, purpose: str, now: int) -> UserId | None:
    """The user of a token that has not expired, or None."""
    user_id: UserId | None = await db.fetchval(SELECT_USER, token_hash, purpose, now)
    return user_id


TAKE = """
    DELETE FROM short_lived_tokens
     WHERE token_hash = $1 AND purpose = $2
 RETURNING user_nid, expires_ts
"""


async def take_token(db: Database, token_hash: bytes, purpose: str, now: int) -> int | None:
    """The user's number, once: the token is gone afterwards. None if it is unknown or expired."""
    row = await db.fetchrow(TAKE, token_hash, purpose)
    return row["user_nid"] if row and row["expires_ts"] > now else None


DELETE_OF_USER = "DELETE FROM short_lived_tokens WHERE user_nid = $1"


async def delete_short_lived_tokens_of_user(db: Database, user_nid: int) -> None:
    """Revoke all of a user's."""
    await db.execute(DELETE_OF_USER, user_nid)
