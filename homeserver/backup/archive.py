"""The file of a backup: a plain tar archive, written and read in one direction.

Every part of it can be looked at with tar and gunzip. `tarfile` is not used for more than the heads
of members, because it remembers each member: a million files would take a gigabyte.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
END = bytes(2 * BLOCK)
PIECE_BYTES = 1 << 20
"""How much of a member is read at once."""


class ArchiveDamaged(Exception):
    """The file is no backup, or not a whole one; the message is a sentence for the operator."""


class ArchiveWriter:
    """Writes members one after another to whatever takes bytes."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._left = 0
        self._padding = b""
        self.size = 0
        """The bytes that were written."""

    def add(self, name: str, data: bytes, ts: int) -> None:
        """Add a member that is in memory; `ts` is its time in milliseconds."""
        self.begin(name, len(data), ts)
        self.write(data)
        self.end()

    def begin(self, name: str, size: int, ts: int) -> None:
        """Begin a member of so many bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, ts // 1000
        self._put(info.tobuf(tarfile.GNU_FORMAT))
        self._left, self._padding = size, bytes(-size % BLOCK)

    def write(self, data: bytes) -> None:
        """Write a part of the member. Raises `ValueError` if there is more than was announced."""
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("A member is longer than was announced")
        self._put(data)

    def end(self) -> None:
        """End the member. Raises `ValueError` if there was less than was announced."""
        if self._left:
            raise ValueError("A member is shorter than was announced")
        self._put(self._padding)

    def close(self) -> None:
        """Write the end of the archive."""
        self._put(END)

    def _put(self, data: bytes) -> None:
        if data:
            self._write(data)
            self.size += len(data)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive, and the byte at which it begins."""

    name: str
    size: int
    start: int

    @property
    def offset(self) -> int:
        """Where its contents begin."""
        return self.start + BLOCK


class ArchiveReader:
    """Reads members in their order, from a file in which one can seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def members(self, start: int = 0) -> Iterator[Member]:
        """The members, all or from the one on that begins at byte `start`.

        Raises `ArchiveDamaged` where the file ends too early or makes no sense.
        """
        position = start
        while True:
            self._file.seek(position)
            head = self._file.read(BLOCK)
            if not head.strip(b"\0") and len(head) == BLOCK:
                return
            try:
                info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
            except (tarfile.HeaderError, UnicodeDecodeError) as error:
                raise ArchiveDamaged(self._where(position)) from error
            if info.size < 0:
                raise ArchiveDamaged(self._where(position))
            yield Member(info.name, info.size, position)
            position += BLOCK + info.size + (-info.size % BLOCK)

    def pieces(self, member: Member) -> Iterator[bytes]:
        """The contents of a member, piece by piece. Raises `ArchiveDamaged` if they end early."""
        position, left = member.offset, member.size
        while left:
            self._file.seek(position)
            piece = self._file.read(min(left, PIECE_BYTES))
            if not piece:
                raise ArchiveDamaged(self._where(position))
            yield piece
            position += len(piece)
            left -= len(piece)

    def read(self, member: Member, most: int) -> bytes:
        """All contents of a small member. Raises `ArchiveDamaged`."""
        if member.size > most:
            raise ArchiveDamaged(f"{member.name} is too large to be what its name says.")
        return b"".join(self.pieces(member))

    def _where(self, position: int) -> str:
        if not position:
            return "The file is not a backup of hearth."
        return f"The file is damaged or not whole: something else is at byte {position}."
