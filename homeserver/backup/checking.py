"""Whether a backup is whole: every part is there, with the checksum that the manifest has."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from homeserver.backup.archive import ArchiveDamaged, ArchiveReader, Member
from homeserver.backup.contents import (
    DATABASE,
    FORMAT,
    HEAD,
    MANIFEST,
    MANIFEST_SUM,
    MEDIA,
    Head,
    Manifest,
    decode_head,
    decode_manifest,
    format_of,
)
from homeserver.media.store import is_key

MOST_HEAD_BYTES = 64 << 20
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Checked:
    """A backup that is whole."""

    head: Head
    manifest: Manifest


@dataclass(slots=True)
class _Seen:
    """What was read of the archive so far."""

    digests: dict[str, "hashlib._Hash"] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    media_files: int = 0
    media_bytes: int = 0


def read_head(path: Path) -> Head:
    """What a backup says of itself at its beginning. Raises `ArchiveDamaged`, `OSError`."""
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        member = next(reader.members(), None)
        if member is None or member.name != HEAD:
            raise ArchiveDamaged(f"{path} is not a backup of hearth.")
        return _parse_head(reader.read(member, MOST_HEAD_BYTES))


def _parse_head(text: bytes) -> Head:
    try:
        number = format_of(text)
        if number != FORMAT:
            raise ArchiveDamaged(
                f"The backup has format {number}, which this version of hearth does not know; "
                "take the version that made it, or a newer one."
            )
        return decode_head(text)
    except UNREADABLE as error:
        raise ArchiveDamaged("The head of the backup is damaged.") from error


def check_backup(path: Path, progress: Callable[[int], None]) -> Checked:
    """Read all of a backup; `progress` hears how many bytes more were read.

    Raises `ArchiveDamaged` with what is wrong, `OSError`.
    """
    head = read_head(path)
    seen, manifest_text, last = _Seen(), b"", ""
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        for member in reader.members():
            if last == MANIFEST_SUM:
                raise ArchiveDamaged(f"Something follows the end of the backup: {member.name}.")
            last = member.name
            if last == MANIFEST:
                manifest_text = reader.read(member, MOST_HEAD_BYTES)
            elif last == MANIFEST_SUM:
                _check_manifest(manifest_text, reader.read(member, 1024))
            else:
                _read_part(reader, member, seen, progress)
    if last != MANIFEST_SUM:
        raise ArchiveDamaged("The backup is not whole: its end is missing.")
    manifest = _parse_manifest(manifest_text)
    _compare(seen, manifest)
    return Checked(head, manifest)


def _check_manifest(text: bytes, sum_line: bytes) -> None:
    if sum_line.split()[:1] != [hashlib.sha256(text).hexdigest().encode()]:
        raise ArchiveDamaged("The manifest of the backup is damaged.")


def _parse_manifest(text: bytes) -> Manifest:
    try:
        return decode_manifest(text)
    except UNREADABLE as error:
        raise ArchiveDamaged("The manifest of the backup is damaged.") from error


def _read_part(
    reader: ArchiveReader, member: Member, seen: _Seen, progress: Callable[[int], None]
) -> None:
    part = part_of(member.name)
    is_media = part.startswith(MEDIA)
    digest = hashlib.sha256() if is_media else seen.digests.setdefault(part, hashlib.sha256())
    for piece in reader.pieces(member):
        digest.update(piece)
        progress(len(piece))
    if not is_media:
        seen.sizes[part] = seen.sizes.get(part, 0) + member.size
        return
    seen.media_files += 1
    seen.media_bytes += member.size
    # A file of the store is called by its hash, and its name leads nowhere else.
    key = part.removeprefix(MEDIA)
    if not is_key(key) or not key.startswith(digest.hexdigest()):
        raise ArchiveDamaged(f"{part} is damaged: its contents are not those of its name.")


def part_of(name: str) -> str:
    """The part that a member belongs to: the rows of a table come in several members."""
    return name.rpartition("/")[0] if name.startswith(DATABASE) else name


def _compare(seen: _Seen, manifest: Manifest) -> None:
    for name, part in manifest.parts.items():
        digest = seen.digests.pop(name, None)
        if digest is None:
            raise ArchiveDamaged(f"The backup is not whole: {name} is missing.")
        if (digest.hexdigest(), seen.sizes[name]) != (part.sha256, part.size):
            raise ArchiveDamaged(f"{name} is damaged: its checksum is not that of the manifest.")
    if seen.digests:
        raise ArchiveDamaged(f"The manifest does not have {', '.join(seen.digests)}.")
    if (seen.media_files, seen.media_bytes) != (manifest.media_files, manifest.media_bytes):
        raise ArchiveDamaged("The backup is not whole: files of media are missing.")
