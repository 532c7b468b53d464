"""Backups made and restored by the parts of hearth that do so, in this process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg

from homeserver.backup.checking import Checked, check_backup
from homeserver.backup.making import Backup, Source
from homeserver.backup.restoring import Terms, restore_database, restore_media
from homeserver.backup.target import written
from homeserver.building.media import build_store
from homeserver.clock import system_clock
from homeserver.config.settings import Settings
from homeserver.media.incoming import Incoming
from storage.database import connect
from tests.patience import LONGEST_TEST_S

ROOT = Path(__file__).parents[3]


async def back_up(settings: Settings, path: Path, media: str = "all") -> Checked:
    """A backup of a server, which may run, in a file; and that it is whole."""
    config_file = path.with_suffix(".toml")
    config_file.write_text(f'[server]\nname = "{settings.server.name}"\n')
    connection = await connect(settings.database.url)
    try:
        store = build_store(settings.media, incoming_of(settings))
        source = Source(settings, config_file, connection, store, system_clock, media)
        with written(path) as file:
            await Backup(source, file.write, lambda _step: None).make()
    finally:
        await connection.close()
    return check_backup(path, lambda _step: None)


async def restore(
    path: Path, settings: Settings, *, overwrite: bool = False, nothing_lost: bool = False
) -> None:
    """Database and media of a backup, where settings say; no server runs there."""
    checked = check_backup(path, lambda _step: None)
    store = build_store(settings.media, incoming_of(settings))
    await restore_media(path, store, incoming_of(settings), lambda _step: None)
    connection = await connect(settings.database.url)
    terms = Terms(overwrite=overwrite, nothing_lost=nothing_lost)
    try:
        await restore_database(path, checked, connection, system_clock, terms, lambda _step: None)
    finally:
        await connection.close()


def incoming_of(settings: Settings) -> Incoming:
    return Incoming(settings.media.directory / "incoming")


def elsewhere(settings: Settings, directory: Path, database_url: str) -> Settings:
    """The same server, in another directory and over another database."""
    return replace(
        settings,
        server=replace(settings.server, data_dir=directory),
        media=replace(settings.media, directory=directory / "media"),
        database=replace(settings.database, url=database_url),
    )


async def contents_of(url: str) -> dict[str, list[str]]:
    """All rows of all tables, as text; without what a backup or restore notes itself."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename NOT IN ('migrations', 'last_backup')"
        )
        return {
            name: [
                row[0]
                for row in await connection.fetch(f"SELECT t::text FROM {name} AS t ORDER BY 1")
            ]
            for (name,) in names
        }
    finally:
        await connection.close()


def command(*arguments: str) -> list[str]:
    """The command line of hearth in a process of its own."""
    return [sys.executable, "-P", "-m", "homeserver", *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


async def hearth(
    *arguments: str | Path, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a command of hearth says, and how it ends."""
    return await asyncio.to_thread(run, command(*map(str, arguments)), cwd, environment)


def run(
    program: Sequence[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What a program that can import hearth says, and how it ends."""
    return subprocess.run(
        program,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=LONGEST_TEST_S,
    )
