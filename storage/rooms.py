"""Rooms: how they begin, whether they are published, and who takes part in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from storage.committer import Write
from storage.database import Database


class RoomExists(Exception):
    """A room of this ID exists already."""


INSERT_ROOM = """
      WITH room AS (
           INSERT INTO rooms (
                  room_nid, room_id, room_version, creator_nid, created_ts, published)
           OVERRIDING SYSTEM VALUE
           VALUES ($1, $2, $3, $4, $5, $6)
        RETURNING room_nid)
    INSERT INTO room_heads (room_nid, revision, max_depth, forward_extremities)
    SELECT room_nid, 0, 0, '{}' FROM room
"""

SELECT_ROOM_NID = "SELECT nextval(pg_get_serial_sequence('rooms', 'room_nid'))::integer"


async def take_room_nid(db: Database) -> int:
    """A number for a new room."""
    return int(await db.fetchval(SELECT_ROOM_NID))


@dataclass(frozen=True, slots=True)
class AddRoom(Write):
    """A new room with an empty head, in front of its first events. Raises `RoomExists`."""

    order: ClassVar[int] = 5

    room_nid: int
    room_id: str
    room_version: str
    creator_nid: int | None
    created_ts: int
    published: bool

    @property
    def positions(self) -> int:
        """None: readers hear of the room by its events."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddRoom", int]]) -> None:
        """Insert the rooms and their heads."""
        for room, _ in placed:
            try:
                await db.execute(
                    INSERT_ROOM,
                    room.room_nid,
                    room.room_id,
                    room.room_version,
                    room.creator_nid,
                    room.created_ts,
                    room.published,
                )
            except asyncpg.UniqueViolationError as error:
                raise RoomExists from error


SELECT_PUBLISHED = "SELECT published FROM rooms WHERE room_nid = $1"


async def is_published(db: Database, room_nid: int) -> bool:
    """Whether the room is in this server's room directory."""
    return bool(await db.fetchval(SELECT_PUBLISHED, room_nid))


SET_PUBLISHED = "UPDATE rooms SET published = $2 WHERE room_nid = $1"


async def set_published(db: Database, room_nid: int, *, published: bool) -> None:
    """Put the room into this server's room directory, or take it out."""
    await db.execute(SET_PUBLISHED, room_nid, published)


@dataclass(frozen=True, slots=True)
class Unpublish(Write):
    """Take a room out of the room directory, together with what replaces it."""

    order: ClassVar[int] = 7

    room_nid: int

    @property
    def positions(self) -> int:
        """None: nobody hears of it by /sync."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["Unpublish", int]]) -> None:
        """Take the rooms out."""
        for room, _ in placed:
            await set_published(db, room.room_nid, published=False)


SELECT_IS_AUTHORITATIVE = """
    SELECT EXISTS (SELECT FROM room_heads WHERE room_nid = $1 AND snapshot_nid IS NOT NULL)
       AND (EXISTS (SELECT FROM memberships
                     WHERE room_nid = $1 AND membership = 1 AND is_local)
            OR NOT EXISTS (SELECT FROM memberships
                            WHERE room_nid = $1 AND membership = 1))
"""


async def is_held_here(db: Database, room_nid: int) -> bool:
    """Whether this server knows the present state of the room.

    It does while one of its users is in the room, and for ever once nobody is in it any more.
    """
    return bool(await db.fetchval(SELECT_IS_AUTHORITATIVE, room_nid))


SELECT_SERVERS = """
    SELECT substring(u.user_id FROM '^[^:]*:(.*)$') AS server, count(*) AS members
      FROM memberships AS m
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = $1 AND m.membership = 1
     GROUP BY server
     ORDER BY members DESC, server
     LIMIT $2
"""


async def servers_in_room(db: Database, room_nid: int, limit: int) -> list[str]:
    """The servers with most joined members of the room, at most `limit`."""
    return [server for server, _ in await db.fetch(SELECT_SERVERS, room_nid, limit)]
