"""Accounts of this server: who has one, and what an administrator has made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.identifiers import UserId
from storage.database import Database


@dataclass(frozen=True, slots=True)
class Account:
    """An account. Without `password_hash` nobody can log in to it with a password."""

    user_nid: int
    user_id: UserId
    created_ts: int
    password_hash: str | None
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool
    is_deactivated: bool
    is_erased: bool
    appservice_id: str | None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made for a user that has a number already."""

    user_nid: int
    created_ts: int
    password_hash: str | None = None
    is_guest: bool = False
    is_admin: bool = False
    appservice_id: str | None = None


COLUMNS = """
    u.user_nid, u.user_id, a.created_ts, a.password_hash, a.is_guest, a.is_admin, a.is_locked,
    a.is_suspended, a.is_deactivated, a.is_erased, a.appservice_id
"""

SELECT_BY_IDS = f"""
    SELECT {COLUMNS}
      FROM users AS u
      JOIN accounts AS a USING (user_nid)
     WHERE u.user_id = ANY($1::text[])
"""  # noqa: S608


async def find_accounts(db: Database, user_ids: Sequence[UserId]) -> dict[UserId, Account]:
    """The accounts of those users that have one."""
    rows = await db.fetch(SELECT_BY_IDS, user_ids)
    return {row["user_id"]: Account(*row) for row in rows}


SELECT_BY_NID = f"""
    SELECT {COLUMNS}
      FROM users AS u
      JOIN accounts AS a USING (user_nid)
     WHERE a.user_nid = $1
"""  # noqa: S608


async def find_account(db: Database, user_nid: int) -> Account | None:
    """The account of a user, or None."""
    row = await db.fetchrow(SELECT_BY_NID, user_nid)
    return Account(*row) if row else None


SELECT_PAGE = f"""
    SELECT {COLUMNS}
      FROM users AS u
      JOIN accounts AS a USING (user_nid)
     WHERE u.user_id > $1
     ORDER BY u.user_id
     LIMIT $2
"""  # noqa: S608


async def accounts_after(db: Database, user_id: str, limit: int) -> list[Account]:
    """The next accounts after a user ID (exclusive), in the order of user IDs."""
    return [Account(*row) for row in await db.fetch(SELECT_PAGE, user_id, limit)]


INSERT_ACCOUNT = """
    INSERT INTO accounts (user_nid, created_ts, password_hash, is_guest, is_admin, appservice_id)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
 RETURNING user_nid
"""


async def add_account(db: Database, account: NewAccount) -> bool:
    """Whether the account was made; False if the user has one."""
    made = await db.fetchval(
        INSERT_ACCOUNT,
        account.user_nid,
        account.created_ts,
        account.password_hash,
        account.is_guest,
        account.is_admin,
        account.appservice_id,
    )
    return made is not None


UPDATE_HASH = """
    UPDATE accounts
       SET password_hash = $2
     WHERE user_nid = $1 AND NOT is_deactivated
 RETURNING user_nid
"""


async def set_password_hash(db: Database, user_nid: int, password_hash: str | None) -> bool:
    """Set or remove the password; False if there is no such account in use."""
    return await db.fetchval(UPDATE_HASH, user_nid, password_hash) is not None


UPDATE_GUEST = """
    UPDATE accounts
       SET is_guest = false, password_hash = $2
     WHERE user_nid = $1 AND is_guest AND NOT is_deactivated
 RETURNING user_nid
"""


async def make_guest_a_user(db: Database, user_nid: int, password_hash: str | None) -> bool:
    """Turn a guest account into a full one; False if it is none."""
    return await db.fetchval(UPDATE_GUEST, user_nid, password_hash) is not None


UPDATE_LOCKED = "UPDATE accounts SET is_locked = $2 WHERE user_nid = $1"
UPDATE_SUSPENDED = "UPDATE accounts SET is_suspended = $2 WHERE user_nid = $1"
UPDATE_ADMIN = "UPDATE accounts SET is_admin = $2 WHERE user_nid = $1"


async def set_locked(db: Database, user_nid: int, *, locked: bool) -> None:
    """Lock an account, or unlock it."""
    await db.execute(UPDATE_LOCKED, user_nid, locked)


async def set_suspended(db: Database, user_nid: int, *, suspended: bool) -> None:
    """Suspend an account, or end that."""
    await db.execute(UPDATE_SUSPENDED, user_nid, suspended)


async def set_admin(db: Database, user_nid: int, *, admin: bool) -> None:
    """Make somebody a server administrator, or a plain user."""
    await db.execute(UPDATE_ADMIN, user_nid, admin)


UPDATE_DEACTIVATED = """
    UPDATE accounts
       SET is_deactivated = true, is_leaving = true, password_hash = NULL,
           is_erased = is_erased OR $2
     WHERE user_nid = $1
"""


async def mark_deactivated(db: Database, user_nid: int, *, erase: bool) -> None:
    """Close an account for good; its user is yet to leave all rooms."""
    await db.execute(UPDATE_DEACTIVATED, user_nid, erase)


SELECT_LEAVING = """
    SELECT user_nid, user_id
      FROM accounts
      JOIN users USING (user_nid)
     WHERE is_leaving
     ORDER BY user_nid
"""


async def leaving_users(db: Database) -> list[tuple[int, UserId]]:
    """Deactivated users, number and ID, who may still be in rooms."""
    return [(row[0], row[1]) for row in await db.fetch(SELECT_LEAVING)]


SELECT_STRANDED_GUESTS = """
    SELECT u.user_id
      FROM accounts AS a
      JOIN users AS u USING (user_nid)
     WHERE a.is_guest AND NOT a.is_deactivated
       AND a.created_ts < $1
       AND NOT EXISTS (SELECT FROM access_tokens AS t WHERE t.user_nid = a.user_nid)
     ORDER BY a.created_ts
     LIMIT $2
"""


async def stranded_guests(db: Database, created_before: int, limit: int) -> list[UserId]:
    """At most `limit` guests without an access token: having no password, they cannot return."""
    return [row[0] for row in await db.fetch(SELECT_STRANDED_GUESTS, created_before, limit)]


UPDATE_LEFT = "UPDATE accounts SET is_leaving = false WHERE user_nid = $1"


async def mark_left(db: Database, user_nid: int) -> None:
    """Note that a deactivated user has left all rooms."""
    await db.execute(UPDATE_LEFT, user_nid)


DELETE_PERSONAL_DATA = """
    WITH fields AS (DELETE FROM profile_fields WHERE user_nid = $1),
         saved_filters AS (DELETE FROM filters WHERE user_nid = $1),
         threads AS (DELETE FROM thread_subscriptions WHERE user_nid = $1)
    DELETE FROM account_data WHERE user_nid = $1
"""


async def erase_personal_data(db: Database, user_nid: int) -> None:
    """Delete what an account kept besides events: profile, account data, filters, threads."""
    await db.execute(DELETE_PERSONAL_DATA, user_nid)


INSERT_TERMS = """
    INSERT INTO accepted_terms (user_nid, document, version, accepted_ts)
    SELECT $1, document, version, $4
      FROM unnest($2::text[], $3::text[]) AS accepted (document, version)
    ON CONFLICT DO NOTHING
"""


async def add_accepted_terms(
    db: Database, user_nid: int, versions: Mapping[str, str], accepted_ts: int
) -> None:
    """Note which version of each document a user has accepted."""
    await db.execute(
        INSERT_TERMS, user_nid, list(versions.keys()), list(versions.values()), accepted_ts
    )


COUNT_ACCOUNTS = """
    SELECT count(*) FILTER (WHERE NOT is_deactivated AND NOT is_guest) AS users,
           count(*) FILTER (WHERE NOT is_deactivated AND is_guest) AS guests
      FROM accounts
"""


async def count_accounts(db: Database) -> tuple[int, int]:
    """How many users and how many guests have an account in use."""
    row: Any = await db.fetchrow(COUNT_ACCOUNTS)
    return row[0], row[1]
