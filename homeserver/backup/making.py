"""Making a backup: while the server runs, in constant memory, to a file or a pipe.

The rows of all tables come from one snapshot of the database. The files of media need none: a file
is in the store, whole, before the database knows of it, its contents never change, and none is
deleted while a backup is made (`storage/backups.py`). So the snapshot lasts no longer than the
copying of the rows, and a database under load can go on tidying up while files are copied.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from homeserver.backup.archive import ArchiveWriter
from homeserver.backup.contents import (
    ALL,
    DATABASE,
    HEAD,
    MANIFEST,
    MANIFEST_SUM,
    MEDIA,
    Head,
    KeptFile,
    KeptTable,
    Manifest,
    Part,
    encode,
    is_setting,
)
from homeserver.backup.files import describe, named_files
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.media.store import Store
from homeserver.version import hearth_version
from migrations.apply import check_applied, load_migrations
from storage.backups import LastBackup, contents_to_copy, extent_of_contents, keep_files
from storage.feed import current_position
from storage.table_copies import Table, copy_out, sequences_of, table_bytes, tables_of

CHUNK_BYTES = 1 << 20
"""Rows are compressed by so much at a time; a backup needs memory for a few of these."""
LEVEL = 6
PAGE = 500
MISSING_NAMED = 1_000
PATIENCE_S = 120
SELECT_LEDGER = "SELECT number, checksum FROM migrations ORDER BY number"


class BackupFailed(Exception):
    """No backup can be made; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up."""

    settings: Settings
    config_file: Path
    connection: asyncpg.Connection
    store: Store
    clock: Clock
    media: str
    """`ALL` or `INDEX`."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to copy, about."""

    tables: int
    media: int


async def measure(source: Source) -> Extent:
    """How many bytes the rows and the files of media have. Raises `BackupFailed`."""
    db = source.connection
    if await db.fetchval("SELECT to_regclass('media_contents')") is None:
        raise BackupFailed("There is nothing to back up: the server has never run.")
    _, _, size = await extent_of_contents(db)
    return Extent(await table_bytes(db), size if source.media == ALL else 0)


class Backup:
    """One backup in the making; `progress` hears how many bytes more were read."""

    def __init__(
        self, source: Source, write: Callable[[bytes], object], progress: Callable[[int], None]
    ) -> None:
        self._source = source
        self._archive = ArchiveWriter(write)
        self._progress = progress
        self._manifest = Manifest()
        self._made_ts = source.clock()

    @property
    def manifest(self) -> Manifest:
        """What was written so far."""
        return self._manifest

    async def make(self) -> LastBackup:
        """Write all of it. Raises `BackupFailed`, `MigrationError`, `OSError`."""
        db = self._source.connection
        try:
            await keep_files(db, PATIENCE_S)
        except asyncpg.LockNotAvailableError as error:
            raise BackupFailed("Another backup is being made just now.") from error
        async with db.transaction(isolation="repeatable_read", readonly=True):
            position, tables = await current_position(db), await tables_of(db)
            last_content, _, _ = await extent_of_contents(db)
            await self._add_head(position, tables)
            for table in tables:
                await self._add_table(table)
        if self._source.media == ALL:
            await self._add_media(last_content)
        self._add_manifest()
        return LastBackup(
            self._manifest.finished_ts, position, self._archive.size, self._source.media
        )

    async def _add_head(self, position: int, tables: list[Table]) -> None:
        source = self._source
        applied = {row[0]: row[1] for row in await source.connection.fetch(SELECT_LEDGER)}
        check_applied(load_migrations(), applied)
        data_dir = source.settings.server.data_dir
        paths = named_files(source.settings, source.config_file)
        files = describe(paths, source.config_file, data_dir)
        version = source.connection.get_server_version()
        head = Head(
            server_name=source.settings.server.name,
            hearth=hearth_version(),
            made_ts=self._made_ts,
            position=position,
            postgres=f"{version.major}.{version.minor}",
            media=source.media,
            migrations=applied,
            tables=tuple(KeptTable(table.name, table.columns) for table in tables),
            sequences=await sequences_of(source.connection),
            files=tuple(files),
            environment=settings_in_environment(),
        )
        self._add(HEAD, encode(head))
        self._add_files(files, paths)

    def _add_files(self, files: list[KeptFile], paths: list[Path]) -> None:
        for file, path in zip(files, paths, strict=True):
            self._add(file.part, path.read_bytes())

    def _add(self, name: str, content: bytes) -> None:
        self._archive.add(name, content, self._made_ts)
        self._manifest.parts[name] = Part(hashlib.sha256(content).hexdigest(), len(content))

    async def _add_table(self, table: Table) -> None:
        digest, size, number = hashlib.sha256(), 0, 0
        gathered = bytearray()

        def flush() -> None:
            nonlocal size, number
            packed = zlib.compress(gathered, LEVEL, wbits=31)
            gathered.clear()
            number += 1
            digest.update(packed)
            size += len(packed)
            self._archive.add(f"{DATABASE}{table.name}/{number:06}.gz", packed, self._made_ts)

        async def take(piece: bytes) -> None:
            gathered.extend(piece)
            self._progress(len(piece))
            if len(gathered) >= CHUNK_BYTES:
                flush()

        rows = await copy_out(self._source.connection, table, take)
        flush()
        self._manifest.parts[DATABASE + table.name] = Part(digest.hexdigest(), size, rows)

    async def _add_media(self, upto: int) -> None:
        after = 0
        while page := await contents_to_copy(self._source.connection, after, upto, PAGE):
            for _, key, size in page:
                await self._add_file(key, size)
            after = page[-1][0]

    async def _add_file(self, key: str, size: int) -> None:
        async with aclosing(self._source.store.read(key, 0, size)) as chunks:
            try:
                first = await anext(chunks, b"")
            except FileNotFoundError:
                self._note_missing(key)
                return
            self._archive.begin(MEDIA + key, size, self._made_ts)
            try:
                self._archive.write(first)
                self._progress(len(first))
                async for chunk in chunks:
                    self._archive.write(chunk)
                    self._progress(len(chunk))
                self._archive.end()
            except ValueError as error:
                raise BackupFailed(f"The file {key} of the store has the wrong size.") from error
        self._manifest.media_files += 1
        self._manifest.media_bytes += size

    def _note_missing(self, key: str) -> None:
        if len(self._manifest.media_missing) < MISSING_NAMED:
            self._manifest.media_missing.append(key)

    def _add_manifest(self) -> None:
        self._manifest.finished_ts = self._source.clock()
        content = encode(self._manifest)
        self._archive.add(MANIFEST, content, self._made_ts)
        sum_line = f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n"
        self._archive.add(MANIFEST_SUM, sum_line.encode(), self._made_ts)
        self._archive.close()


def settings_in_environment() -> dict[str, str]:
    """The settings that the environment gives."""
    return {name: value for name, value in os.environ.items() if is_setting(name)}
