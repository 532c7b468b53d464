"""Access tokens and refresh tokens. Only their SHA-256 is kept.

A pair of tokens can be exchanged for the next one by its refresh token. The former refresh token
stays valid until something of the new pair is used, so that a client that never got the new pair
can ask again. Source: client-server API, "Refreshing access tokens".
"""

from dataclasses import dataclass

from federation.protocol.identifiers import DeviceId, UserId
from storage.database import Database


@dataclass(frozen=True, slots=True)
class NewAccessToken:
    """An access token to be kept; `refresh_hash` is that of the refresh token beside it."""

    token_hash: bytes
    user_nid: int
    device_nid: int
    refresh_hash: bytes | None
    expires_ts: int | None
    created_ts: int


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token; `replaces` is its predecessor's hash until either token is used."""

    token_hash: bytes
    user_nid: int
    device_nid: int
    replaces: bytes | None
    expires_ts: int | None
    created_ts: int


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whom an access token stands for.

    `replaced_refresh_hash` is that of the refresh token which the first use revokes.
    """

    token_id: int
    user_nid: int
    user_id: UserId
    device_nid: int
    device_id: DeviceId | None
    expires_ts: int | None
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool
    is_deactivated: bool
    refresh_hash: bytes | None
    replaced_refresh_hash: bytes | None


INSERT_ACCESS = """
    INSERT INTO access_tokens
           (token_hash, user_nid, device_nid, refresh_hash, expires_ts, created_ts)
    VALUES ($1, $2, $3, $4, $5, $6)
"""


async def add_access_token(db: Database, token: NewAccessToken) -> None:
    """Keep a new access token."""
    await db.execute(
        INSERT_ACCESS,
        token.token_hash,
        token.user_nid,
        token.device_nid,
        token.refresh_hash,
        token.expires_ts,
        token.created_ts,
    )


INSERT_REFRESH = """
    INSERT INTO refresh_tokens
           (token_hash, user_nid, device_nid, replaces, expires_ts, created_ts)
    VALUES ($1, $2, $3, $4, $5, $6)
"""


async def add_refresh_token(db: Database, token: RefreshToken) -> None:
    """Keep a new refresh token."""
    await db.execute(
        INSERT_REFRESH,
        token.token_hash,
        token.user_nid,
        token.device_nid,
        token.replaces,
        token.expires_ts,
        token.created_ts,
    )


SELECT_HOLDER = """
    SELECT t.token_id, t.user_nid, u.user_id, coalesce(t.device_nid, 0), d.device_id,
           t.expires_ts, a.is_guest, a.is_admin, a.is_locked, a.is_suspended, a.is_deactivated,
           t.refresh_hash, r.replaces
      FROM access_tokens AS t
      JOIN users AS u USING (user_nid)
      JOIN accounts AS a USING (user_nid)
      LEFT JOIN devices AS d USING (device_nid)
      LEFT JOIN refresh_tokens AS r ON r.token_hash = t.refresh_hash
     WHERE t.token_hash = $1
"""


async def find_token_holder(db: Database, token_hash: bytes) -> TokenHolder | None:
    """Whom an access token stands for, or None; the token may have expired."""
    row = await db.fetchrow(SELECT_HOLDER, token_hash)
    return TokenHolder(*row) if row else None


SELECT_REFRESH = """
    SELECT token_hash, user_nid, device_nid, replaces, expires_ts, created_ts
      FROM refresh_tokens
     WHERE token_hash = $1
       FOR UPDATE
"""


async def lock_refresh_token(db: Database, token_hash: bytes) -> RefreshToken | None:
    """A refresh token, or None; it stays as it is until the transaction ends."""
    row = await db.fetchrow(SELECT_REFRESH, token_hash)
    return RefreshToken(*row) if row else None


UPDATE_REPLACES = "UPDATE refresh_tokens SET replaces = NULL WHERE token_hash = $1"
DELETE_REFRESH = "DELETE FROM refresh_tokens WHERE token_hash = $1"
END_UNLIMITED = """
    UPDATE access_tokens
       SET expires_ts = $2
     WHERE refresh_hash = $1 AND expires_ts IS NULL
"""


async def revoke_predecessor(
    db: Database, refresh_hash: bytes, replaced_hash: bytes, now: int
) -> None:
    """Revoke the refresh token that `refresh_hash` was exchanged for.

    The access token beside it lives on to its own end, so that requests under way are answered;
    one without an end expires now. It is not deleted: whoever still uses it is to hear of an
    expired token, not of the end of the session.
    """
    await db.execute(UPDATE_REPLACES, refresh_hash)
    await db.execute(DELETE_REFRESH, replaced_hash)
    await db.execute(END_UNLIMITED, replaced_hash, now)


DELETE_EXPIRED_OF_DEVICE = """
    DELETE FROM access_tokens
     WHERE device_nid = $1 AND expires_ts < $2 AND refresh_hash IS DISTINCT FROM $3
"""


async def delete_expired_access_tokens(
    db: Database, device_nid: int, expired_before: int, keep_refresh_hash: bytes
) -> None:
    """Delete a device's access tokens that expired long ago, but that beside one refresh token."""
    await db.execute(DELETE_EXPIRED_OF_DEVICE, device_nid, expired_before, keep_refresh_hash)


DELETE_EXCESS = """
    WITH gone AS (
        DELETE FROM refresh_tokens
         WHERE token_hash = ANY(ARRAY(
               SELECT token_hash
                 FROM refresh_tokens
                WHERE device_nid = $1 AND token_hash <> $2
                ORDER BY created_ts DESC, token_hash
               OFFSET $3))
     RETURNING token_hash)
    DELETE FROM access_tokens
     WHERE device_nid = $1 AND refresh_hash IN (SELECT token_hash FROM gone)
"""


async def delete_excess_pairs(
    db: Database, device_nid: int, keep_refresh_hash: bytes, most: int
) -> None:
    """Delete all but a device's newest pairs, and the one of a refresh token.

    A client that asks again and again with the same token, for it hears no answer, is given a pair
    each time.
    """
    await db.execute(DELETE_EXCESS, device_nid, keep_refresh_hash, most)


DELETE_ACCESS_TOKENS_OF_DEVICE = "DELETE FROM access_tokens WHERE device_nid = $1"
DELETE_REFRESH_TOKENS_OF_DEVICE = "DELETE FROM refresh_tokens WHERE device_nid = $1"


async def delete_tokens_of_device(db: Database, device_nid: int) -> None:
    """Revoke all tokens of a device, which stays."""
    await db.execute(DELETE_ACCESS_TOKENS_OF_DEVICE, device_nid)
    await db.execute(DELETE_REFRESH_TOKENS_OF_DEVICE, device_nid)


DELETE_ACCESS_TOKENS_OF_USER = "DELETE FROM access_tokens WHERE user_nid = $1"


async def delete_access_tokens_of_user(db: Database, user_nid: int) -> None:
    """Revoke all access tokens of a user, also those without a device."""
    await db.execute(DELETE_ACCESS_TOKENS_OF_USER, user_nid)


DELETE_ACCESS = "DELETE FROM access_tokens WHERE token_id = $1"


async def delete_access_token(db: Database, token_id: int) -> None:
    """Revoke one access token."""
    await db.execute(DELETE_ACCESS, token_id)


DELETE_ENDED_ACCESS = """
    WITH deleted AS (
        DELETE FROM access_tokens
         WHERE token_hash = ANY(ARRAY(
               SELECT token_hash
                 FROM access_tokens AS t
                WHERE t.expires_ts < $1
                  AND NOT EXISTS (SELECT FROM refresh_tokens AS r
                                   WHERE r.token_hash = t.refresh_hash)
                ORDER BY t.expires_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_ended_access_tokens(db: Database, expired_before: int, limit: int) -> int:
    """Delete at most `limit` access tokens that cannot be refreshed any more; how many it were.

    One whose refresh token is still good stays however old it is: its client must hear that the
    token has expired, for it to ask for the next one.
    """
    count: int = await db.fetchval(DELETE_ENDED_ACCESS, expired_before, limit)
    return count


DELETE_ENDED_REFRESH = """
    WITH deleted AS (
        DELETE FROM refresh_tokens
         WHERE token_hash = ANY(ARRAY(
               SELECT token_hash
                 FROM refresh_tokens
                WHERE expires_ts < $1
                ORDER BY expires_ts
                LIMIT $2))
     RETURNING 1)
    SELECT count(*) FROM deleted
"""


async def delete_ended_refresh_tokens(db: Database, expired_before: int, limit: int) -> int:
    """Delete at most `limit` refresh tokens that expired long ago; how many it were."""
    count: int = await db.fetchval(DELETE_ENDED_REFRESH, expired_before, limit)
    return count
