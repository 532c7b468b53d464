"""Files on their way into the store: hashed while they arrive, in constant memory.

They are written to a directory beside the store, a batch at a time, and are gone when the context
ends unless the store has taken them. What a crash leaves is deleted by a job.
"""

import asyncio
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from homeserver.media.store import CHUNK_BYTES
from storage.durable import make_directory

DEAD_AFTER_S = 24 * 3600
"""A file that nobody has written to for so long was left by a crash."""


@dataclass(frozen=True, slots=True)
class Received:
    """A file that has arrived whole."""

    path: Path
    sha256: bytes
    size: int


class Incoming:
    """The directory of files that are arriving."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Received]:
        """Write all chunks to a file, which is there while the context lasts."""
        target = Target(self._directory)
        try:
            batch: list[bytes] = []
            batch_bytes = 0
            async for chunk in chunks:
                batch.append(chunk)
                batch_bytes += len(chunk)
                if batch_bytes >= CHUNK_BYTES:
                    await asyncio.to_thread(target.write, batch)
                    batch, batch_bytes = [], 0
            yield await asyncio.to_thread(target.finish, batch)
        finally:
            await asyncio.to_thread(target.discard)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Path]:
        """A name at which somebody else writes a file, which is there while the context lasts."""
        target = Target(self._directory)
        path = await asyncio.to_thread(target.reserve)
        try:
            yield path
        finally:
            await asyncio.to_thread(target.discard)

    async def delete_dead(self) -> int:
        """Delete what crashes have left; how many files."""
        return await asyncio.to_thread(delete_older, self._directory, time.time() - DEAD_AFTER_S)


class Target:
    """A file being written, by threads; a lock keeps one that comes late away from the end."""

    __slots__ = ("_directory", "_file", "_hash", "_is_over", "_lock", "_path", "_size")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._size = 0
        self._path: Path | None = None
        self._file: int | None = None
        self._is_over = False

    def reserve(self) -> Path:
        """Make the file, empty, and give its path."""
        with self._lock:
            path = self._open()[0]
            self._close()
        return path

    def write(self, batch: Sequence[bytes]) -> None:
        """Add to the file."""
        with self._lock:
            self._write(batch)

    def finish(self, batch: Sequence[bytes]) -> Received:
        """Add the last of it."""
        with self._lock:
            path = self._write(batch)
            self._close()
        return Received(path, self._hash.digest(), self._size)

    def discard(self) -> None:
        """Delete the file, unless it was moved away."""
        with self._lock:
            self._is_over = True
            self._close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _open(self) -> tuple[Path, int]:
        if self._is_over:
            raise ValueError("The file is not wanted any more")
        if self._path is None or self._file is None:
            make_directory(self._directory)
            self._file, name = tempfile.mkstemp(dir=self._directory)
            self._path = Path(name)
        return self._path, self._file

    def _write(self, batch: Sequence[bytes]) -> Path:
        path, file = self._open()
        for chunk in batch:
            self._hash.update(chunk)
            self._size += len(chunk)
            write_all(file, chunk)
        return path

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def hash_file(path: Path) -> Received:
    """A file that is there already, as one that has arrived."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return Received(path, digest, file.tell())


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything: the system may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def delete_older(directory: Path, before_s: float) -> int:
    """Delete the files that were written to before a time; how many."""
    deleted = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.stat().st_mtime < before_s:
                    Path(entry.path).unlink(missing_ok=True)
                    deleted += 1
    except FileNotFoundError:
        pass
    return deleted
