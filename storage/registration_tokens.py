"""Tokens that let people register, as an administrator gives them out."""

from dataclasses import dataclass

from storage.database import Database


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A token: `completed` of `uses_allowed` registrations are done (None: any number)."""

    token: str
    uses_allowed: int | None
    completed: int
    expires_ts: int | None
    created_ts: int

    def is_valid(self, now: int) -> bool:
        """Whether somebody can still register with it."""
        unexpired = self.expires_ts is None or self.expires_ts > now
        return unexpired and (self.uses_allowed is None or self.completed < self.uses_allowed)


INSERT = """
    INSERT INTO registration_tokens (token, uses_allowed, completed, expires_ts, created_ts)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
 RETURNING token
"""


async def add_registration_token(db: Database, token: RegistrationToken) -> bool:
    """Whether the token was added; False if there is one of this name."""
    row = await db.fetchval(
        INSERT,
        token.token,
        token.uses_allowed,
        token.completed,
        token.expires_ts,
        token.created_ts,
    )
    return row is not None


SELECT = """
    SELECT token, uses_allowed, completed, expires_ts, created_ts
      FROM registration_tokens
     WHERE token = $1
"""


async def find_registration_token(db: Database, token: str) -> RegistrationToken | None:
    """The token, valid or not, or None."""
    row = await db.fetchrow(SELECT, token)
    return RegistrationToken(*row) if row else None


SELECT_ALL = """
    SELECT token, uses_allowed, completed, expires_ts, created_ts
      FROM registration_tokens
     ORDER BY created_ts, token
"""


async def all_registration_tokens(db: Database) -> list[RegistrationToken]:
    """All tokens, valid or not, oldest first."""
    return [RegistrationToken(*row) for row in await db.fetch(SELECT_ALL)]


USE = """
    UPDATE registration_tokens
       SET completed = completed + 1
     WHERE token = $1
       AND (uses_allowed IS NULL OR completed < uses_allowed)
       AND (expires_ts IS NULL OR expires_ts > $2)
 RETURNING token
"""


async def use_registration_token(db: Database, token: str, now: int) -> bool:
    """Count one registration; False if the token lets nobody in any more."""
    return await db.fetchval(USE, token, now) is not None


DELETE = "DELETE FROM registration_tokens WHERE token = $1 RETURNING token"


async def delete_registration_token(db: Database, token: str) -> bool:
    """Whether there was such a token."""
    return await db.fetchval(DELETE, token) is not None
