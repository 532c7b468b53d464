"""All tables of a database as streams of bytes, and back.

The streams are those of COPY in its binary form, which every version of PostgreSQL reads: nothing
but a connection is needed, and no pg_dump that fits the server. The shape of the database is not
among them, as the migrations make it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from storage.committer import PEER_LOCK
from storage.database import Database

LEDGER = "migrations"
"""The table that says which shape the database has: it belongs to the shape and is not copied."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the columns that are copied, in this order."""

    name: str
    columns: tuple[str, ...]


SELECT_TABLES = """
    SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)::text[]
      FROM pg_class AS c
      JOIN pg_attribute AS a ON a.attrelid = c.oid
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
       AND c.relname <> $1
       AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
     GROUP BY c.relname
     ORDER BY c.relname
"""


async def tables_of(db: Database) -> list[Table]:
    """The tables of a database, by name."""
    return [Table(row[0], tuple(row[1])) for row in await db.fetch(SELECT_TABLES, LEDGER)]


SELECT_TABLE_BYTES = """
    SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""


async def table_bytes(db: Database) -> int:
    """What the rows of all tables take on the disk, without indexes."""
    size: int = await db.fetchval(SELECT_TABLE_BYTES)
    return size


async def copy_out(
    connection: asyncpg.Connection, table: Table, sink: Callable[[bytes], Awaitable[None]]
) -> int:
    """Give the rows of a table to `sink`, piece by piece; how many there are."""
    status = await connection.copy_from_table(
        table.name, columns=table.columns, output=sink, format="binary"
    )
    return int(status.split()[1])


async def copy_in(
    connection: asyncpg.Connection, table: Table, chunks: AsyncIterator[bytes]
) -> int:
    """Add the rows that `copy_out` gave; how many there are."""
    status = await connection.copy_to_table(
        table.name, columns=table.columns, source=chunks, format="binary"
    )
    return int(status.split()[1])


SELECT_SEQUENCES = """
    SELECT relname
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'S'
     ORDER BY relname
"""


async def sequences_of(db: Database) -> dict[str, int | None]:
    """The last number that each sequence gave out; None where it gave none.

    Sequences belong to no snapshot: read after one was taken, they are at least as far.
    """
    found = {}
    for (name,) in await db.fetch(SELECT_SEQUENCES):
        last, is_called = await db.fetchrow(f'SELECT last_value, is_called FROM "{name}"')  # noqa: S608
        found[name] = last if is_called else None
    return found


async def set_sequences(db: Database, values: Mapping[str, int | None]) -> None:
    """Have sequences go on after the given numbers."""
    there = {name for (name,) in await db.fetch(SELECT_SEQUENCES)}
    for name, value in values.items():
        if value is not None and name in there:
            await db.execute("SELECT setval(quote_ident($1)::regclass, $2)", name, value)


SELECT_REFERENCES = """
    SELECT conrelid::regclass::text AS of_table, quote_ident(conname) AS name,
           pg_get_constraintdef(oid) AS definition
      FROM pg_constraint
     WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
"""
SELECT_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
      FROM pg_index AS i
      JOIN pg_class AS c ON c.oid = i.indexrelid
     WHERE c.relnamespace = current_schema()::regnamespace
       AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)
     ORDER BY c.relname
"""


@asynccontextmanager
async def filling(db: Database) -> AsyncIterator[None]:
    """Empties all tables; then they are filled in any order, without indexes and references.

    Those are made afterwards at once, which is faster, and takes no memory for each row.
    To be used inside a transaction.
    """
    names = ", ".join(f'"{table.name}"' for table in await tables_of(db))
    await db.execute(f"TRUNCATE {names}")
    references = await db.fetch(SELECT_REFERENCES)
    for one in references:
        await db.execute(f"ALTER TABLE {one['of_table']} DROP CONSTRAINT {one['name']}")
    indexes = await db.fetch(SELECT_INDEXES)
    for one in indexes:
        await db.execute(f"DROP INDEX {one['name']}")
    yield
    for one in indexes:
        await db.execute(one["definition"])
    for one in references:
        added = f"ADD CONSTRAINT {one['name']} {one['definition']}"
        await db.execute(f"ALTER TABLE {one['of_table']} {added}")


async def is_empty(db: Database) -> bool:
    """Whether a database has no table."""
    count = await db.fetchval(
        "SELECT count(*) FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'S')"
    )
    return bool(count == 0)


async def drop_everything(db: Database) -> None:
    """Drop all tables and sequences."""
    tables = [LEDGER, *(table.name for table in await tables_of(db))]
    for name in tables:
        await db.execute(f'DROP TABLE IF EXISTS "{name}" CASCADE')
    for (name,) in await db.fetch(SELECT_SEQUENCES):
        await db.execute(f'DROP SEQUENCE IF EXISTS "{name}" CASCADE')


# Locks with a single number, such as that of the migrations, have 1 in objsubid.
SELECT_PEERS = """
    SELECT count(*)
      FROM pg_locks
     WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objsubid = 2
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def count_servers(db: Database) -> int:
    """How many server processes run over a database."""
    count: int = await db.fetchval(SELECT_PEERS, PEER_LOCK)
    return count
