"""Where a backup goes: a file that appears whole or not at all, or the next one of a directory."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from homeserver.backup.making import BackupFailed, Extent
from storage.durable import sync_directory

SUFFIX = ".tar"
PARTIAL = ".part"
BUFFER_BYTES = 1 << 20


def name_in_directory(directory: Path, server_name: str, now_ms: int) -> Path:
    """The next backup of a directory."""
    time = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return directory / f"{_prefix(server_name)}{time}{SUFFIX}"


def _prefix(server_name: str) -> str:
    return f"hearth-{re.sub('[^A-Za-z0-9.-]', '_', server_name)}-"


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block has ended well; only its owner can read it.

    Raises `BackupFailed` if another process is writing it.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupFailed(f"Another process is writing {path} just now.") from error
        os.fchmod(descriptor, 0o600)
        file.truncate(0)
        try:
            yield file
            file.flush()
            os.fsync(descriptor)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_directory(path.parent)


def remove_abandoned(directory: Path, server_name: str) -> None:
    """Remove what backups have left that were killed."""
    for partial in directory.glob(f".{_prefix(server_name)}*{PARTIAL}"):
        with partial.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            partial.unlink(missing_ok=True)


def rotate(directory: Path, server_name: str, keep: int) -> list[Path]:
    """Delete all but the newest backups of a server from a directory; those that were deleted.

    The names have the time, so their order is that of the backups.
    """
    pattern = re.compile(re.escape(_prefix(server_name)) + r"\d{8}T\d{6}Z" + re.escape(SUFFIX))
    backups = sorted(path for path in directory.iterdir() if pattern.fullmatch(path.name))
    old = backups[: max(len(backups) - keep, 0)]
    for path in old:
        path.unlink()
    return old


def check_space(directory: Path, extent: Extent) -> None:
    """Raise `BackupFailed` if a backup certainly does not fit.

    Files of media take what they take; rows become smaller, by how much is not known beforehand.
    """
    free, least = shutil.disk_usage(directory).free, extent.media + extent.tables // 10
    if free < least:
        raise BackupFailed(
            f"{directory} has {free >> 20} MiB left, and the backup needs at least "
            f"{least >> 20} MiB; make room, or leave the files out with --media index."
        )
