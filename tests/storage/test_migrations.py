"""Migrations that are interrupted leave no trace, and are applied by the next start."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import orjson
import pytest

from migrations.apply import Migration, MigrationError, apply_migrations, load_migrations
from storage.database import connect
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
LONG = "CREATE TABLE half (n integer); INSERT INTO half VALUES (1); SELECT pg_sleep(600)"
PROGRAM = """
import asyncio, sys, asyncpg
from migrations.apply import Migration, apply_migrations, load_migrations

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    steps = load_migrations()
    await apply_migrations(connection, [*steps, Migration(len(steps) + 1, "long.sql", sys.argv[2])])

asyncio.run(main())
"""


async def tables_in(db: asyncpg.Connection) -> set[str]:
    rows = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


async def test_a_start_that_is_killed_in_a_migration_leaves_all_before_it_and_nothing_of_it(
    unmigrated_database_url: str,
) -> None:
    db = await connect(unmigrated_database_url)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, unmigrated_database_url, LONG], env=environment
    )
    async with asyncio.timeout(PATIENCE_S):
        while not await db.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event = 'PgSleep' AND datname = current_database()"
        ):
            assert process.poll() is None
            await asyncio.sleep(0.02)
        process.kill()
        await asyncio.to_thread(process.wait)
        steps = load_migrations()
        after = Migration(len(steps) + 1, "long.sql", "CREATE TABLE whole (n integer)")
        # It waits for the lock of the killed one, which PostgreSQL gives up when it notices.
        assert await apply_migrations(db, [*steps, after]) == ["long.sql"]
    assert {"events", "whole"} <= await tables_in(db)
    assert "half" not in await tables_in(db)
    await db.close()


async def test_a_migration_that_fails_half_way_leaves_nothing(
    unmigrated_database_url: str,
) -> None:
    db = await connect(unmigrated_database_url)
    first = Migration(1, "0001.sql", "CREATE TABLE first (n integer)")
    broken = Migration(2, "0002.sql", "CREATE TABLE second (n integer); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply_migrations(db, [first, broken])
    assert await tables_in(db) == {"first", "migrations"}
    mended = Migration(2, "0002.sql", "CREATE TABLE second (n integer)")
    assert await apply_migrations(db, [first, mended]) == ["0002.sql"]
    with pytest.raises(MigrationError, match="does not know"):
        await apply_migrations(db, [first])
    await db.close()


OLDER_ROOM = """
    INSERT INTO rooms (room_id, room_version, created_ts) VALUES ('!r:test', '12', 0);
    INSERT INTO users (user_id) VALUES ('@alice:test');
    INSERT INTO event_types (type) VALUES ('m.room.message');
"""
ADD_EVENT = """
    INSERT INTO events (event_nid, stream_position, depth, origin_server_ts, room_nid, sender_nid,
                        type_nid, prev_nids, auth_nids, event_id, json)
    VALUES ($1, $1, 1, 0, 1, 1, 1, '{}', '{}', $2, $3)
"""


async def test_an_older_database_whose_events_hold_a_nul_is_brought_to_this_shape(
    unmigrated_database_url: str,
) -> None:
    db = await connect(unmigrated_database_url)
    await apply_migrations(db, load_migrations()[:8])
    await db.execute(OLDER_ROOM)
    for nid, body in enumerate(("\0", "a\\\0b", "\\u0000", "plain"), 1):
        event = {"content": {"body": body}, "prev_events": [f"$missing{nid}"]}
        await db.execute(ADD_EVENT, nid, f"$e{nid}", orjson.dumps(event))
    await apply_migrations(db)
    rows = await db.fetch("SELECT event_nid, prev_event_id FROM history_gaps ORDER BY event_nid")
    assert [tuple(row) for row in rows] == [(nid, f"$missing{nid}") for nid in (1, 2, 3, 4)]
    await db.close()


def test_a_mended_migration_is_the_one_that_was_applied_before() -> None:
    (step,) = [step for step in load_migrations() if step.name == "0009_history_gaps.sql"]
    at_first = "cd7fb2e8e437d17c67ffb530ee0d5e604956e992f7581fba761f4656174a9294"
    assert step.checksum == at_first
    assert Migration(9, step.name, step.sql + " ").checksum != at_first
