"""Restoring a backup: into a directory and a database that are fresh.

Nothing is touched before all of the backup has been read and found whole. Then come the files of
the configuration, the files of media and, at last, the database, in one transaction: until it is
committed there is no database, so a restore that was interrupted is begun again. A mark in the data
directory keeps a server from starting in between. It allows nothing: if the database was committed
and the mark is still there, the database is refused like any other that is not empty.
"""

import fcntl
import os
import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import asyncpg

from homeserver.backup.archive import ArchiveReader
from homeserver.backup.checking import Checked, part_of
from homeserver.backup.contents import DATABASE, MEDIA, Head, KeptFile
from homeserver.backup.files import MOST_BYTES, target_of
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.media.incoming import Incoming
from homeserver.media.store import Store
from migrations.apply import apply_migrations, check_applied, load_migrations
from storage.durable import sync_directory, write_whole
from storage.restores import resume_after_restore
from storage.table_copies import (
    Table,
    copy_in,
    count_servers,
    drop_everything,
    filling,
    is_empty,
    set_sequences,
    tables_of,
)

MARK = "restore-under-way"
ROWS_GROW = 6
"""So much more may rows take in the database than in a backup, with their indexes."""


class RestoreRefused(Exception):
    """The backup cannot be restored there; the message is a sentence for the operator."""


def check_versions(head: Head) -> None:
    """Raise `MigrationError` unless this version knows the shape that the database had."""
    check_applied(load_migrations(), dict(head.migrations))


@contextmanager
def marked(data_dir: Path) -> Iterator[None]:
    """Keeps a server from starting over what is only half restored; stays if the block fails.

    It is on the disk before anything of the block is, and goes when all of the block is.
    Raises `RestoreRefused` if another process is at it.
    """
    mark = data_dir / MARK
    with mark.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RestoreRefused("Another process is restoring a backup there just now.") from error
        mark.chmod(0o600)
        sync_directory(data_dir)
        yield
        mark.unlink()
        sync_directory(data_dir)


def is_under_way(data_dir: Path) -> bool:
    """Whether a restore was begun here and has not come to its end."""
    return (data_dir / MARK).exists()


def check_space(checked: Checked, settings: Settings) -> None:
    """Raise `RestoreRefused` if what is restored does not fit on the disks here.

    Rows may go to another machine, and media to a bucket.
    """
    manifest, media = checked.manifest, settings.media
    rows = sum(part.size for name, part in manifest.parts.items() if name.startswith(DATABASE))
    needed: dict[Path, int] = {}
    if not settings.database.url:
        _add_need(needed, settings.server.data_dir, ROWS_GROW * rows)
    if not media.s3.bucket:
        _add_need(needed, media.directory, manifest.media_bytes)
    for directory, size in needed.items():
        free = shutil.disk_usage(directory).free
        if free < size:
            raise RestoreRefused(
                f"{directory} has {free >> 20} MiB left, and about {size >> 20} MiB are needed."
            )


def _add_need(needed: dict[Path, int], directory: Path, size: int) -> None:
    """Note that something goes into a directory, which need not be there yet, on its disk."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    same = (path for path in needed if path.stat().st_dev == there.stat().st_dev)
    place = next(same, there)
    needed[place] = needed.get(place, 0) + size


def find_differing(path: Path, files: tuple[KeptFile, ...], place: tuple[Path, Path]) -> list[Path]:
    """Files that are here and are others than in the backup; `place` as for `restore_files`."""
    return [
        target
        for kept, content in _contents(path, files)
        if (target := target_of(kept, *place)).exists() and target.read_bytes() != content
    ]


class Fate(Enum):
    """What became of a file that is not simply as the backup has it."""

    STAYS = "stays"
    """Another one was there, and still is."""
    KEPT_BESIDE = "kept beside"
    """Another one was there, and is beside the restored one now."""
    NOT_WRITTEN = "not written"
    """It belongs where nothing can be written, as in containers."""


def restore_files(
    path: Path,
    files: tuple[KeptFile, ...],
    place: tuple[Path, Path],
    *,
    overwrite: bool,
) -> list[tuple[Path, Fate]]:
    """Write files of the configuration where they belong; what became of those that differed.

    `place` are the directory of the configuration and that of the data. A file that differs stays
    as it is, or with `overwrite` is kept beside the restored one.
    """
    fates = []
    for kept, content in _contents(path, files):
        target = target_of(kept, *place)
        is_there = target.exists()
        if is_there and target.read_bytes() == content:
            continue
        if is_there and not overwrite:
            fates.append((target, Fate.STAYS))
        elif not _is_writable(target.parent):
            fates.append((target, Fate.NOT_WRITTEN))
        else:
            if is_there:
                fates.append((target, Fate.KEPT_BESIDE))
                target.replace(target.with_name(f"{target.name}.before-restore"))
            write_whole(target, content)
    return fates


def _is_writable(directory: Path) -> bool:
    """Whether files can be made in a directory, which need not be there yet."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    return os.access(there, os.W_OK)


def content_of(path: Path, file: KeptFile) -> bytes:
    """What is in one file of the configuration."""
    return next(content for _, content in _contents(path, (file,)))


def _contents(path: Path, files: tuple[KeptFile, ...]) -> Iterator[tuple[KeptFile, bytes]]:
    by_part = {kept.part: kept for kept in files}
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        for member in reader.members():
            if member.name in by_part:
                yield by_part[member.name], reader.read(member, MOST_BYTES)


async def restore_media(
    path: Path, store: Store, incoming: Incoming, progress: Callable[[int], None]
) -> int:
    """Put the files into the store, but for those that are there; how many there are."""
    count = 0
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        for member in reader.members():
            if not member.name.startswith(MEDIA):
                continue
            count += 1
            key = member.name.removeprefix(MEDIA)
            if await store.has(key):
                progress(member.size)
                continue
            async with incoming.receive(_told(reader.pieces(member), progress)) as received:
                await store.put(received.path, key)
    return count


async def _told(pieces: Iterator[bytes], progress: Callable[[int], None]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        progress(len(piece))


@dataclass(frozen=True, slots=True)
class Terms:
    """How a database is restored."""

    overwrite: bool
    """Whether what is there may be dropped."""
    nothing_lost: bool
    """Whether the server has not run since the backup, so that everybody knows what it knows."""


async def check_database(db: asyncpg.Connection, *, overwrite: bool) -> None:
    """Raise `RestoreRefused` unless a database can be restored here."""
    if await count_servers(db):
        raise RestoreRefused("A server runs over this database; stop it first.")
    if not overwrite and not await is_empty(db):
        raise RestoreRefused(
            "The database is not empty. Name an empty one, or have it replaced by --overwrite: "
            "then all that it holds is lost."
        )


async def restore_database(
    path: Path,
    checked: Checked,
    db: asyncpg.Connection,
    clock: Clock,
    terms: Terms,
    progress: Callable[[int], None],
) -> list[str]:
    """Make the database what it was, in the shape that this version wants; the tables left out.

    Tables that hearth has never made belong to somebody else and are left out.
    """
    head = checked.head
    async with db.transaction():
        await check_database(db, overwrite=terms.overwrite)
        await drop_everything(db)
        await apply_migrations(db, load_migrations()[: len(head.migrations)])
        there = {table.name for table in await tables_of(db)}
        async with filling(db):
            await _fill(path, checked, db, there, progress)
        await set_sequences(db, head.sequences)
        await apply_migrations(db)
        if not terms.nothing_lost:
            await resume_after_restore(db, head.made_ts, clock())
    return [table.name for table in head.tables if table.name not in there]


async def _fill(
    path: Path,
    checked: Checked,
    db: asyncpg.Connection,
    there: set[str],
    progress: Callable[[int], None],
) -> None:
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        starts: dict[str, int] = {}
        for member in reader.members():
            starts.setdefault(part_of(member.name), member.start)
            if member.name.startswith(MEDIA):
                break
        for table in checked.head.tables:
            if table.name not in there:
                continue
            part = DATABASE + table.name
            chunks = _rows(reader, part, starts[part], progress)
            count = await copy_in(db, Table(table.name, table.columns), chunks)
            if count != checked.manifest.parts[part].rows:
                raise RestoreRefused(f"The table {table.name} has another number of rows.")


async def _rows(
    reader: ArchiveReader, part: str, start: int, progress: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """What was copied out of a table, whose members follow each other."""
    for member in reader.members(start):
        if part_of(member.name) != part:
            return
        yield zlib.decompress(reader.read(member, member.size), wbits=31)
        progress(member.size)


def settings_missing_here(head: Head) -> dict[str, str]:
    """Settings that the environment gave when the backup was made, and does not give now."""
    return {name: value for name, value in head.environment.items() if name not in os.environ}
