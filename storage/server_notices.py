"""The rooms in which the server itself talks to its users, one for each."""

from storage.database import Database

SELECT_ROOM = "SELECT room_nid FROM server_notice_rooms WHERE user_nid = $1"


async def find_notice_room(db: Database, user_nid: int) -> int | None:
    """The user's room, if there is one."""
    room_nid: int | None = await db.fetchval(SELECT_ROOM, user_nid)
    return room_nid


# Another process may have been quicker: its room counts.
INSERT_ROOM = """
    INSERT INTO server_notice_rooms AS old (user_nid, room_nid)
    VALUES ($1, $2)
    ON CONFLICT (user_nid) DO UPDATE SET room_nid = old.room_nid
 RETURNING room_nid
"""


async def keep_notice_room(db: Database, user_nid: int, room_nid: int) -> int:
    """Note the user's room; the one that counts from now on."""
    kept: int = await db.fetchval(INSERT_ROOM, user_nid, room_nid)
    return kept
