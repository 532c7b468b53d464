"""Filters that users have uploaded. They never change; equal ones are kept once."""

from storage.database import Database, Pool

LOCK_USER = "SELECT FROM users WHERE user_nid = $1 FOR NO KEY UPDATE"

SELECT_EQUAL = "SELECT filter_id FROM filters WHERE user_nid = $1 AND json = $2"

INSERT_FILTER = """
    INSERT INTO filters (user_nid, filter_id, json)
    SELECT $1::integer, COALESCE(MAX(filter_id), 0) + 1, $2::bytea
      FROM filters
     WHERE user_nid = $1
    HAVING COUNT(*) < $3
 RETURNING filter_id
"""


async def add_filter(db: Pool, user_nid: int, json: bytes, max_filters: int) -> int | None:
    """The ID of the user's filter, which is added if it is new; None if there are too many."""
    found = await db.fetchval(SELECT_EQUAL, user_nid, json)
    if found is not None:
        return int(found)
    async with db.transaction() as transaction:
        await transaction.execute(LOCK_USER, user_nid)
        found = await transaction.fetchval(SELECT_EQUAL, user_nid, json)
        if found is None:
            found = await transaction.fetchval(INSERT_FILTER, user_nid, json, max_filters)
    return found if found is None else int(found)


SELECT_FILTER = "SELECT json FROM filters WHERE user_nid = $1 AND filter_id = $2"


async def find_filter(db: Database, user_nid: int, filter_id: int) -> bytes | None:
    """The filter as it was uploaded, or None."""
    json: bytes | None = await db.fetchval(SELECT_FILTER, user_nid, filter_id)
    return json
