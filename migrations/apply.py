"""Brings the database to the newest shape: pending migrations in order, under a lock, checksummed.

A migration is a file `NNNN_what_it_does.sql`; it runs in one transaction together with the record
that it ran, so an interrupted start leaves either all of it or nothing. What takes long on a large
database is no migration: a column that is to be filled is added empty, and a job of the server
fills it batch by batch (homeserver/jobs), each run going on where the last one ended.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

LOCK = 0x6865617274680001
"""The advisory lock that makes servers which start together migrate one after the other."""

CREATE_LEDGER = """
    CREATE TABLE IF NOT EXISTS migrations (
        number     integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


NOTICE_LOSS = """
    SELECT set_config('client_connection_check_interval', '1s', true)
     WHERE current_setting('server_version_num')::integer >= 140000
"""
"""Has PostgreSQL give a statement up when the program that began it was killed. It would otherwise
go on to its end, with the lock that the next start waits for, only to be undone."""


MENDED = {
    "6471b18cb16f5a1a80993339f17d2d013f10377ab6cbc1f5edaf6e4c6d3b7d32": (
        "cd7fb2e8e437d17c67ffb530ee0d5e604956e992f7581fba761f4656174a9294"
    ),
}
"""Files that failed on some databases and were mended: what they are now → what they were.

They leave the same behind where they did not fail, so both are one migration: it is known and
recorded as it was, by older versions of this program too. 0009: events with a NUL.
"""


class MigrationError(Exception):
    """The database and the migration files do not fit together; the message says what to do."""


class Connection(Protocol):
    """The part of an asyncpg connection that migrating needs."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run statements."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""

    def transaction(self) -> Any:
        """An async context manager that commits on leaving."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, file name and SQL text."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text as it was at first, in hexadecimal."""
        present = hashlib.sha256(self.sql.encode()).hexdigest()
        return MENDED.get(present, present)


def load_migrations() -> list[Migration]:
    """All migrations of this version, in order; raises `MigrationError` if a number is missing."""
    files = sorted(
        (f for f in resources.files("migrations").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    steps = [Migration(int(f.name[:4]), f.name, f.read_text("utf-8")) for f in files]
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise MigrationError("the numbers of the migration files are not 1, 2, 3, …")
    return steps


async def apply_migrations(db: Connection, steps: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is pending and return the names of what was applied.

    Raises `MigrationError` when the database is newer than this program or an applied migration
    has been changed since.
    """
    steps = load_migrations() if steps is None else steps
    await db.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await db.execute(CREATE_LEDGER)
        rows = await db.fetch("SELECT number, checksum FROM migrations ORDER BY number")
        applied = {row["number"]: row["checksum"] for row in rows}
        check_applied(steps, applied)
        pending = [step for step in steps if step.number not in applied]
        for step in pending:
            await _apply(db, step)
        return [step.name for step in pending]
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", LOCK)


def check_applied(steps: Sequence[Migration], applied: dict[int, str]) -> None:
    """Raise `MigrationError` unless what was applied is a prefix of `steps`."""
    known = {step.number: step for step in steps}
    for number, checksum in applied.items():
        if number not in known:
            raise MigrationError(
                f"the database has migration {number}, which this version of hearth does not know; "
                "run the newer version that wrote it"
            )
        if known[number].checksum != checksum:
            raise MigrationError(
                f"migration {known[number].name} differs from the one that was applied; "
                "restore the original file"
            )


async def _apply(db: Connection, step: Migration) -> None:
    async with db.transaction():
        await db.execute(NOTICE_LOSS)
        await db.execute(step.sql)
        await db.execute(
            "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)",
            step.number,
            step.name,
            step.checksum,
        )
