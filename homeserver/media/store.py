"""Where the contents of media are kept: a directory, or a bucket that speaks S3.

A key is the content's SHA-256 and a few random letters: a key is never used again, so deleting a
file cannot hit one that was just put there. What is put is there for good when `put` returns; the
database learns of it afterwards. After a crash in between, the file is nobody's, and a job that
compares the store with the database deletes it.
"""

import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEY = re.compile(r"[0-9a-f]{64}-[0-9a-f]{8}", re.ASCII)
CHUNK_BYTES = 262_144
"""How much of a file is in memory at a time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the store and when it was put there, in milliseconds."""

    key: str
    put_ts: int


class Store(Protocol):
    """Keeps files by key."""

    async def put(self, source: Path, key: str) -> None:
        """Keep the file at `source`, which must not change any more and may be gone afterwards.

        Raises `OSError`.
        """

    async def has(self, key: str) -> bool:
        """Whether the file is there."""

    def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """A part of a file, chunk by chunk. Raises `OSError`, at the first chunk if not there."""

    def as_path(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The file in the file system, to be read only while the context lasts."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files; those that are not there are no error."""

    def list_kept(self, after: str) -> AsyncGenerator[Sequence[Kept], None]:
        """The files whose keys come after one, some at a time; a batch's after those before it."""


def is_key(text: str) -> bool:
    """Whether this is a key, as `new_key` makes them."""
    return KEY.fullmatch(text) is not None


def new_key(sha256: bytes) -> str:
    """A key for a content that nothing was ever kept under."""
    return f"{sha256.hex()}-{secrets.token_hex(4)}"
