"""`hearth upgrade` says what the installed version will do to the database, and does it."""

import json
from pathlib import Path

import asyncpg
import pytest

from homeserver.cli.upgrade_checks import tables_touched
from migrations.apply import apply_migrations, load_migrations
from storage.backups import LastBackup, find_last_backup, note_backup
from storage.database import connect
from tests.homeserver.backup.saving import hearth


def configure(directory: Path, url: str, more: str = "") -> None:
    (directory / "hearth.toml").write_text(
        f'[server]\nname = "test"\n{more}\n[database]\nurl = {json.dumps(url)}\n'
    )


async def level_of(url: str) -> int:
    db = await asyncpg.connect(url)
    try:
        level: int = await db.fetchval("SELECT max(number) FROM migrations")
        return level
    finally:
        await db.close()


async def test_what_is_to_come_is_told_and_not_done(
    unmigrated_database_url: str, tmp_path: Path
) -> None:
    url = unmigrated_database_url
    configure(tmp_path, url)
    db = await connect(url)
    await apply_migrations(db, load_migrations()[:13])
    await db.close()
    told = await hearth("upgrade", "--check", cwd=tmp_path)
    assert told.returncode == 3, told
    assert "0014_pushing.sql goes through pushers, stream: at most" in told.stdout
    assert "0018_mail_digests.sql" in told.stdout
    assert "0013" not in told.stdout
    assert "warn backup" in told.stdout
    assert await level_of(url) == 13
    done = await hearth("upgrade", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Applied 0014_pushing.sql." in done.stdout
    assert await level_of(url) == len(load_migrations())
    again = await hearth("upgrade", "--check", cwd=tmp_path)
    assert again.returncode == 0, again
    assert "nothing to do" in again.stdout


async def test_settings_that_this_version_does_not_know_are_in_the_way(
    database_url: str, tmp_path: Path
) -> None:
    configure(tmp_path, database_url, 'public_base_url = "https://test"')
    told = await hearth("upgrade", "--check", cwd=tmp_path)
    assert told.returncode == 1
    assert "fail configuration  server.public_base_url is not a setting" in told.stdout
    assert "did you mean server.public_baseurl" in told.stdout


async def test_a_newer_database_is_in_the_way(database_url: str, tmp_path: Path) -> None:
    configure(tmp_path, database_url)
    db = await asyncpg.connect(database_url)
    await db.execute("INSERT INTO migrations (number, name, checksum) VALUES (9999, 'later', '')")
    await db.close()
    told = await hearth("upgrade", "--check", cwd=tmp_path)
    assert told.returncode == 1
    assert "migration 9999" in told.stdout


async def test_a_postgresql_that_is_not_here_is_in_the_way(tmp_path: Path) -> None:
    configure(tmp_path, "")
    pgdata = tmp_path / "data" / "postgres" / "data"
    pgdata.mkdir(parents=True)
    (pgdata / "PG_VERSION").write_text("9\n")
    told = await hearth("upgrade", "--check", cwd=tmp_path)
    assert told.returncode == 1
    assert "fail postgres" in told.stdout
    assert "was made by PostgreSQL 9" in told.stdout


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("ALTER TABLE events ADD COLUMN n integer;", {"events"}),
        ("CREATE INDEX a ON receipts (room_nid) WHERE x;", {"receipts"}),
        (
            "INSERT INTO gaps SELECT * FROM events JOIN rooms USING (a); -- FROM users",
            {"events", "rooms"},
        ),
        ("UPDATE pushers SET a = 1;", {"pushers"}),
        ("CREATE TABLE fresh (n integer REFERENCES users);", set()),
    ],
)
def test_tables_that_a_migration_goes_through(sql: str, names: set[str]) -> None:
    assert tables_touched(sql) == names


async def test_the_doctor_knows_how_old_the_last_backup_is(
    database_url: str, tmp_path: Path
) -> None:
    configure(tmp_path, database_url)
    db = await connect(database_url)
    assert await find_last_backup(db) is None
    await note_backup(db, LastBackup(1_000, 1, 1, "all"))
    told = await hearth("doctor", cwd=tmp_path)
    (line,) = [line for line in told.stdout.splitlines() if " backup " in line]
    assert line.startswith("warn")
    assert "days old; make one" in line
    done = await hearth("backup", tmp_path / "b.tar", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = await find_last_backup(db)
    assert last is not None
    assert last.size == (tmp_path / "b.tar").stat().st_size
    told = await hearth("doctor", cwd=tmp_path)
    assert any(line.startswith("ok   backup") for line in told.stdout.splitlines())
    await db.close()
