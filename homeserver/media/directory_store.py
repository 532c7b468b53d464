"""The store in a directory: `content/ab/abcd…`, by the first two digits of the hash.

What blocks is done in threads. A file gets its place by a rename after it has reached the disk, and
the directory is synchronised too, so that what is at its place is whole, always.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from homeserver.media.store import CHUNK_BYTES, Kept
from storage.durable import make_directory, sync_directory

DIRECTORIES = tuple(f"{number:02x}" for number in range(256))


class DirectoryStore:
    """Files below a directory."""

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, source: Path, key: str) -> None:
        """Move a file to its place; it must be in the same file system."""
        await asyncio.to_thread(put_durably, source, self._path(key))

    async def has(self, key: str) -> bool:
        """Whether the file is there."""
        return await asyncio.to_thread(self._path(key).exists)

    async def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """A part of a file; a small one in a single step."""
        path, end = self._path(key), start + length
        if length <= CHUNK_BYTES:
            yield await asyncio.to_thread(read_part, path, start, length)
            return
        file = await asyncio.to_thread(open_at, path, start)
        try:
            for position in range(start, end, CHUNK_BYTES):
                yield await asyncio.to_thread(file.read, min(CHUNK_BYTES, end - position))
        finally:
            file.close()

    @asynccontextmanager
    async def as_path(self, key: str) -> AsyncIterator[Path]:
        """The file where it is."""
        yield self._path(key)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files."""
        await asyncio.to_thread(delete_all, [self._path(key) for key in keys])

    async def list_kept(self, after: str) -> AsyncGenerator[Sequence[Kept], None]:
        """The files of one directory after another."""
        for name in DIRECTORIES:
            if name >= after[:2]:
                found = await asyncio.to_thread(list_directory, self._root / name)
                yield [kept for kept in found if kept.key > after]

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / key


def put_durably(source: Path, target: Path) -> None:
    """Move a file so that it is there, whole, after a power cut too."""
    # When it was put here counts, not how old a file is that comes from elsewhere.
    os.utime(source)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    make_directory(target.parent)
    source.replace(target)
    sync_directory(target.parent)


def read_part(path: Path, start: int, length: int) -> bytes:
    """A part of a file at once."""
    with open_at(path, start) as file:
        return file.read(length)


def open_at(path: Path, start: int) -> BinaryIO:
    """A file, opened to be read from a position on."""
    file = path.open("rb", buffering=0)
    file.seek(start)
    return file


def delete_all(paths: Sequence[Path]) -> None:
    """Delete files, if they are there."""
    for path in paths:
        path.unlink(missing_ok=True)


def list_directory(directory: Path) -> list[Kept]:
    """The files of a directory; none if it is not there."""
    try:
        with os.scandir(directory) as entries:
            return [Kept(entry.name, entry.stat().st_mtime_ns // 1_000_000) for entry in entries]
    except FileNotFoundError:
        return []
