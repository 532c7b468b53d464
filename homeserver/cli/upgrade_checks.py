"""What stands between a server as it is and the installed version, one function for each thing."""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from homeserver.cli.database import database_of
from homeserver.cli.finding import Finding, State
from homeserver.config.load import ConfigError, find_config_file, load_settings
from homeserver.config.settings import Settings
from homeserver.version import hearth_version
from migrations.apply import Migration, MigrationError, check_applied, load_migrations
from storage.backups import find_last_backup
from storage.cluster_errors import ClusterError
from storage.cluster_moves import present_major
from storage.postgres_binaries import BinariesNotFound, find_binaries

BYTES_PER_SECOND = 20 << 20
"""How fast a slow disk lets a table be rewritten, with its indexes."""
BACKUP_MAX_AGE_S = 24 * 3600

TOUCHED = re.compile(r"\b(?:ALTER TABLE|UPDATE|ON|FROM|JOIN)\s+(\w+)")
"""What stands before the name of a table that a migration reads or writes."""
COMMENT = re.compile(r"--[^\n]*")


@dataclass(slots=True)
class Outlook:
    """What was found, and the migrations that are to come."""

    findings: list[Finding] = field(default_factory=list)
    pending: Sequence[Migration] = ()


async def look_ahead(config: Path | None) -> Outlook:
    """All findings; where the configuration cannot be read, only that."""
    outlook = Outlook([Finding("version", State.OK, f"hearth {hearth_version()} is installed.")])
    try:
        path = find_config_file(config)
        settings = load_settings(path)
    except ConfigError as error:
        outlook.findings += [
            Finding("configuration", State.FAIL, problem) for problem in error.problems
        ]
        return outlook
    outlook.findings.append(
        Finding("configuration", State.OK, f"{path} is valid for this version.")
    )
    if not settings.database.url:
        found = check_postgres(settings)
        outlook.findings.append(found)
        if found.state is State.FAIL or present_major(settings.server.data_dir) is None:
            return outlook
    await _look_at_database(settings, outlook)
    return outlook


def check_postgres(settings: Settings) -> Finding:
    """The PostgreSQL that made the private database is there."""
    subject, major = "postgres", present_major(settings.server.data_dir)
    if major is None:
        return Finding(subject, State.OK, "There is no database yet; the first start makes it.")
    try:
        find_binaries(settings.database.binaries, major)
    except BinariesNotFound as error:
        return Finding(subject, State.FAIL, str(error))
    newest = find_binaries(settings.database.binaries).major
    if newest > major:
        message = (
            f"The database is one of PostgreSQL {major}, which is here, and so is {newest}: "
            "`hearth upgrade --postgres` moves it there."
        )
        return Finding(subject, State.OK, message)
    return Finding(subject, State.OK, f"PostgreSQL {major} of the database is here.")


async def _look_at_database(settings: Settings, outlook: Outlook) -> None:
    try:
        async with database_of(settings) as dsn:
            connection = await asyncpg.connect(dsn, timeout=10)
            try:
                await _look_through(connection, settings, outlook)
            finally:
                await connection.close()
    except MigrationError as error:
        outlook.findings.append(Finding("database", State.FAIL, f"{error}."))
    except (ClusterError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        message = f"{error or 'no answer'}; check database.url and the server there."
        outlook.findings.append(Finding("database", State.FAIL, message))


async def _look_through(
    connection: asyncpg.Connection, settings: Settings, outlook: Outlook
) -> None:
    outlook.pending = await pending_migrations(connection)
    if not outlook.pending:
        outlook.findings.append(
            Finding("database", State.OK, "It has the shape of this version: nothing to do.")
        )
        return
    sizes = await sizes_of_tables(connection)
    total = 0
    for step in outlook.pending:
        touched = sorted(tables_touched(step.sql) & sizes.keys())
        size = sum(sizes[name] for name in touched)
        total += size
        outlook.findings.append(Finding("migration", State.OK, describe(step, touched, size)))
    if not settings.database.url:
        outlook.findings.append(check_free(settings.server.data_dir, total))
    outlook.findings.append(await check_backup(connection))


async def pending_migrations(connection: asyncpg.Connection) -> list[Migration]:
    """The migrations that are yet to be applied. Raises `MigrationError`."""
    steps = load_migrations()
    if await connection.fetchval("SELECT to_regclass('migrations')") is None:
        return steps
    rows = await connection.fetch("SELECT number, checksum FROM migrations")
    check_applied(steps, {row["number"]: row["checksum"] for row in rows})
    return steps[len(rows) :]


SELECT_SIZES = """
    SELECT relname, pg_total_relation_size(oid)
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""


async def sizes_of_tables(connection: asyncpg.Connection) -> dict[str, int]:
    """What each table takes on the disk with its indexes, in bytes."""
    return {row[0]: row[1] for row in await connection.fetch(SELECT_SIZES)}


def tables_touched(sql: str) -> set[str]:
    """Names after which a migration may read or rewrite a whole table."""
    return set(TOUCHED.findall(COMMENT.sub("", sql)))


def describe(step: Migration, touched: Sequence[str], size: int) -> str:
    """A pending migration, and at most how much of the database it goes through."""
    if not touched:
        return f"{step.name} touches no table that is there."
    seconds = size / BYTES_PER_SECOND
    lasts = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
    return (
        f"{step.name} goes through {', '.join(touched)}: at most {size / 2**20:.1f} MiB, "
        f"about {lasts} on a slow disk."
    )


def check_free(data_dir: Path, needed: int) -> Finding:
    """There is room for second copies of what is rewritten."""
    free = shutil.disk_usage(data_dir).free
    message = f"{free >> 20} MiB are free, and at most {needed >> 20} MiB are needed"
    if free < needed:
        return Finding("disk", State.FAIL, f"{message}: make room.")
    return Finding("disk", State.OK, f"{message}.")


async def check_backup(connection: asyncpg.Connection) -> Finding:
    """There is a backup to go back to."""
    last = await find_last_backup(connection)
    if last is None:
        message = "There is none: a changed database cannot be changed back. `hearth backup FILE`."
        return Finding("backup", State.WARN, message)
    age_s = time.time() - last.finished_ts / 1000
    if age_s > BACKUP_MAX_AGE_S:
        message = f"The last one is {age_s / 86_400:.1f} days old; make one: `hearth backup FILE`."
        return Finding("backup", State.WARN, message)
    return Finding("backup", State.OK, f"The last one is {age_s / 3600:.1f} hours old.")
