"""Who is in which room."""

from storage.changes import Membership
from storage.database import Database

SELECT_MEMBERSHIP = """
    SELECT membership FROM memberships WHERE user_nid = $1 AND room_nid = $2
"""


async def find_membership(db: Database, user_nid: int, room_nid: int) -> Membership | None:
    """The user's membership of the room; None for somebody who never was a member."""
    number = await db.fetchval(SELECT_MEMBERSHIP, user_nid, room_nid)
    return None if number is None else Membership(number)


async def is_joined(db: Database, user_nid: int, room_nid: int) -> bool:
    """Whether the user is in the room."""
    return await find_membership(db, user_nid, room_nid) is Membership.JOIN


SELECT_SHARES_ROOM = """
    SELECT EXISTS (
           SELECT FROM memberships AS mine
             JOIN memberships AS theirs ON theirs.room_nid = mine.room_nid
            WHERE mine.user_nid = $1 AND mine.membership = 1
              AND theirs.user_nid = $2 AND theirs.membership = 1)
"""


async def shares_room(db: Database, user_nid: int, other_nid: int) -> bool:
    """Whether both are in some room."""
    return bool(await db.fetchval(SELECT_SHARES_ROOM, user_nid, other_nid))
