"""Figures about the database for whoever watches the server; each is one query."""

from dataclasses import dataclass

from storage.database import Database

SELECT_BACKLOG = """
      WITH waiting AS (
           SELECT destination, count(*) AS rooms, 0 AS edus
             FROM outgoing_rooms
            GROUP BY destination
            UNION ALL
           SELECT destination, 0, count(*)
             FROM outgoing_edus
            GROUP BY destination),
           ranked AS (
           SELECT destination, sum(rooms) AS rooms, sum(edus) AS edus,
                  row_number() OVER (ORDER BY sum(rooms) + sum(edus) DESC, destination) AS rank
             FROM waiting
            GROUP BY destination)
    SELECT CASE WHEN rank <= $1 THEN destination END, sum(rooms)::bigint, sum(edus)::bigint,
           count(*)
      FROM ranked
     GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What servers lack: rooms of which they have not got all events, and EDUs.

    `destination` is None for all the servers together that are not named.
    """

    destination: str | None
    rooms: int
    edus: int
    servers: int


async def backlog_of_destinations(db: Database, named: int) -> list[Backlog]:
    """The `named` servers that lack most, and all others together where there are any."""
    return [Backlog(*row) for row in await db.fetch(SELECT_BACKLOG, named)]


SELECT_MEDIA = "SELECT coalesce(sum(size), 0)::bigint, count(*) FROM media_contents"


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """The files of the content repository."""

    bytes: int
    files: int


async def stored_media(db: Database) -> StoredMedia:
    """How large all files are together; reads the whole table."""
    return StoredMedia(*await db.fetchrow(SELECT_MEDIA))


SELECT_MIGRATION = "SELECT max(number) FROM migrations"


async def newest_migration(db: Database) -> int:
    """The number of the last migration that was applied."""
    number: int = await db.fetchval(SELECT_MIGRATION)
    return number
