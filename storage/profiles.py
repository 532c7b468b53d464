"""Profiles of this server's users: fields and their values, which are JSON.

Of the display name a casefolded copy is kept for searches.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from storage.database import Database, Pool

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"

SELECT_PROFILE = "SELECT field, value FROM profile_fields WHERE user_nid = $1 ORDER BY field"


async def profile_of(db: Database, user_nid: int) -> dict[str, bytes]:
    """All fields of the user's profile, with their values as JSON."""
    return dict(await db.fetch(SELECT_PROFILE, user_nid))


SELECT_FIELD = "SELECT value FROM profile_fields WHERE user_nid = $1 AND field = $2"


async def find_profile_field(db: Database, user_nid: int, field: str) -> bytes | None:
    """The JSON value of a field, or None where the user has no such field."""
    value: bytes | None = await db.fetchval(SELECT_FIELD, user_nid, field)
    return value


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """What of a profile goes into a user's member events."""

    displayname: str | None = None
    avatar_url: str | None = None


SELECT_MEMBER_PROFILES = """
    SELECT user_nid, field, value
      FROM profile_fields
     WHERE user_nid = ANY($1::integer[]) AND field IN ('displayname', 'avatar_url')
"""


async def member_profiles(db: Database, user_nids: Iterable[int]) -> dict[int, MemberProfile]:
    """Display name and avatar of each of the users, as far as they have any."""
    fields: dict[int, dict[str, str]] = {nid: {} for nid in user_nids}
    for user_nid, field, value in await db.fetch(SELECT_MEMBER_PROFILES, list(fields)):
        fields[user_nid][field] = orjson.loads(value)
    return {nid: MemberProfile(**found) for nid, found in fields.items()}


LOCK_PROFILE = "SELECT FROM users WHERE user_nid = $1 FOR NO KEY UPDATE"

UPSERT_FIELD = """
    INSERT INTO profile_fields (user_nid, field, value, folded)
    SELECT $1::integer, $2::text, $3::bytea, $4::text
     WHERE (SELECT COALESCE(SUM(octet_length(field) + octet_length(value) + 4), 0)
              FROM profile_fields
             WHERE user_nid = $1 AND field <> $2)
           + octet_length($2::text) + octet_length($3::bytea) + 4 <= $5
        ON CONFLICT (user_nid, field)
        DO UPDATE SET value = EXCLUDED.value, folded = EXCLUDED.folded
"""


async def set_profile_field(
    db: Pool, user_nid: int, field: str, value: bytes, max_bytes: int
) -> bool:
    """Set a field, unless the profile as JSON would then be larger than `max_bytes`."""
    folded = str(orjson.loads(value)).casefold() if field == DISPLAYNAME else None
    async with db.transaction() as transaction:
        await transaction.execute(LOCK_PROFILE, user_nid)
        status = await transaction.execute(UPSERT_FIELD, user_nid, field, value, folded, max_bytes)
    return status != "INSERT 0 0"


DELETE_FIELD = "DELETE FROM profile_fields WHERE user_nid = $1 AND field = $2"


async def delete_profile_field(db: Database, user_nid: int, field: str) -> bool:
    """Remove a field; tells whether it was there."""
    return await db.execute(DELETE_FIELD, user_nid, field) != "DELETE 0"
