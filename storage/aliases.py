"""Room aliases of this server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import RoomId
from storage.committer import Write
from storage.database import Database


class AliasTaken(MatrixError):
    """The alias leads to a room already."""

    status: ClassVar[int] = 409

    def __init__(self) -> None:
        super().__init__("The room alias already exists")


@dataclass(frozen=True, slots=True)
class StoredAlias:
    """Where an alias leads, and who made it."""

    room_id: RoomId
    creator_nid: int


SELECT_ALIAS = "SELECT room_id, creator_nid FROM room_aliases WHERE alias = $1"


async def find_alias(db: Database, alias: str) -> StoredAlias | None:
    """The alias, or None if there is none of this name."""
    row = await db.fetchrow(SELECT_ALIAS, alias)
    return None if row is None else StoredAlias(RoomId(row[0]), row[1])


SELECT_ALIASES = "SELECT alias FROM room_aliases WHERE room_id = $1 ORDER BY alias"


async def aliases_of(db: Database, room_id: str) -> list[str]:
    """All aliases that lead to a room, in alphabetical order."""
    return [alias for (alias,) in await db.fetch(SELECT_ALIASES, room_id)]


INSERT_ALIAS = "INSERT INTO room_aliases (alias, room_id, creator_nid) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class AddAlias(Write):
    """A new alias. Raises `AliasTaken`."""

    order: ClassVar[int] = 6

    alias: str
    room_id: str
    creator_nid: int

    @property
    def positions(self) -> int:
        """None: nobody hears of an alias by /sync."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddAlias", int]]) -> None:
        """Insert the aliases."""
        for new, _ in placed:
            try:
                await db.execute(INSERT_ALIAS, new.alias, new.room_id, new.creator_nid)
            except asyncpg.UniqueViolationError as error:
                raise AliasTaken from error


DELETE_ALIAS = "DELETE FROM room_aliases WHERE alias = $1"


async def delete_alias(db: Database, alias: str) -> None:
    """Remove an alias, if it is there."""
    await db.execute(DELETE_ALIAS, alias)


MOVE_ALIASES = "UPDATE room_aliases SET room_id = $2 WHERE room_id = $1"


@dataclass(frozen=True, slots=True)
class MoveAliases(Write):
    """All aliases of a room lead to another one from now on."""

    order: ClassVar[int] = 7

    room_id: str
    new_room_id: str

    @property
    def positions(self) -> int:
        """None: nobody hears of an alias by /sync."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["MoveAliases", int]]) -> None:
        """Move the aliases."""
        for move, _ in placed:
            await db.execute(MOVE_ALIASES, move.room_id, move.new_room_id)
