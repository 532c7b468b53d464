"""A backup that is damaged in any place is known to be."""

import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from homeserver.backup.archive import ArchiveDamaged, ArchiveReader, ArchiveWriter
from homeserver.backup.checking import check_backup
from homeserver.backup.contents import HEAD, MANIFEST, MANIFEST_SUM, MEDIA
from tests.homeserver.backup.saving import back_up
from tests.homeserver.backup.test_round_trip import upload
from tests.homeserver.conftest import Homes


@pytest.fixture
async def backup(homes: Homes, tmp_path: Path) -> Path:
    alice = await homes.user("alice")
    await alice.send(await alice.create_room(), "a message")
    await upload(alice, b"a small file")
    path = tmp_path / "backup.tar"
    await back_up(homes.services.settings, path)
    return path


def check(path: Path) -> None:
    check_backup(path, lambda _step: None)


def test_tar_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "any.tar"
    contents = {"a": b"", "b/c": b"x" * 512, "d": b"y" * 1_025}
    with path.open("wb") as file:
        writer = ArchiveWriter(file.write)
        for name, content in contents.items():
            writer.add(name, content, 1_700_000_000_000)
        writer.close()
    assert writer.size == path.stat().st_size
    with tarfile.open(path) as archive:
        files = {one.name: archive.extractfile(one) for one in archive}
        read = {name: found and found.read() for name, found in files.items()}
    assert read == contents
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        assert {one.name: reader.read(one, 9_999) for one in reader.members()} == contents


def test_a_member_is_as_long_as_was_announced() -> None:
    writer = ArchiveWriter(lambda _data: None)
    writer.begin("a", 3, 0)
    with pytest.raises(ValueError, match="longer"):
        writer.write(b"four")
    writer = ArchiveWriter(lambda _data: None)
    writer.begin("a", 3, 0)
    writer.write(b"2!")
    with pytest.raises(ValueError, match="shorter"):
        writer.end()


async def test_a_flipped_bit_in_any_part_is_found(backup: Path) -> None:
    whole = backup.read_bytes()
    with backup.open("rb") as file:
        members = list(ArchiveReader(file).members())
    assert {one.name.split("/")[0] for one in members} == {
        "hearth-backup.json",
        "files",
        "database",
        "media",
        "manifest.json",
        "manifest.sha256",
    }
    for member in members:
        damaged = bytearray(whole)
        damaged[member.offset + member.size // 3] ^= 4
        backup.write_bytes(damaged)
        with pytest.raises(ArchiveDamaged):
            check(backup)


async def test_a_backup_that_was_cut_off_is_not_whole(backup: Path) -> None:
    whole = backup.read_bytes()
    with backup.open("rb") as file:
        ends = [one.start for one in ArchiveReader(file).members()]
    for size in [0, 100, *ends, len(whole) // 2, len(whole) - 1_025]:
        backup.write_bytes(whole[:size])
        with pytest.raises(ArchiveDamaged):
            check(backup)


async def test_a_backup_lacks_no_member_and_has_no_other(backup: Path) -> None:
    whole = backup.read_bytes()
    with backup.open("rb") as file:
        members = list(ArchiveReader(file).members())
    starts = [one.start for one in members]
    for start, end in pairwise(starts):
        backup.write_bytes(whole[:start] + whole[end:])
        with pytest.raises(ArchiveDamaged):
            check(backup)
    backup.write_bytes(whole[: starts[1]] + whole[starts[1] : starts[2]] + whole[starts[1] :])
    with pytest.raises(ArchiveDamaged):
        check(backup)


def test_any_other_file_is_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(ArchiveDamaged, match="not a backup"):
        check(path)


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    """Change members, with the checksums of those that are not files of media."""
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        members = [(one.name, reader.read(one, one.size)) for one in reader.members()]
    with path.open("wb") as file:
        writer = ArchiveWriter(file.write)
        for name, data in _summed(change(name, data) for name, data in members):
            writer.add(name, data, 0)
        writer.close()


def _summed(members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    head, manifest_text = b"", b""
    for name, data in members:
        if name == HEAD:
            head = data
        if name == MANIFEST:
            manifest = orjson.loads(data)
            manifest["parts"][HEAD] = {"sha256": sha256(head).hexdigest(), "size": len(head)}
            manifest_text = orjson.dumps(manifest)
            yield name, manifest_text
        elif name == MANIFEST_SUM:
            yield name, f"{sha256(manifest_text).hexdigest()}  {MANIFEST}\n".encode()
        else:
            yield name, data


async def test_files_of_media_are_called_as_the_store_calls_them(backup: Path) -> None:
    rewrite(backup, lambda name, data: (name, data))
    check(backup)

    def lead_away(name: str, data: bytes) -> tuple[str, bytes]:
        return (name[:-8] + "/../../../away" if name.startswith(MEDIA) else name), data

    rewrite(backup, lead_away)
    with pytest.raises(ArchiveDamaged, match="away is damaged"):
        check(backup)


@pytest.mark.parametrize(
    "changed",
    [
        {"environment": {"LD_PRELOAD": "/tmp/any.so"}},
        {"files": [{"part": "files/000-a", "base": "config", "path": "/etc/passwd"}]},
        {"files": [{"part": "files/000-a", "base": "data", "path": "/etc/passwd"}]},
        {"files": [{"part": "files/000-a", "base": "elsewhere", "path": "a"}]},
        {"migrations": []},
        {"environment": None},
    ],
)
async def test_a_head_that_makes_no_sense_is_damaged(backup: Path, changed: dict[str, Any]) -> None:
    def change(name: str, data: bytes) -> tuple[str, bytes]:
        return name, orjson.dumps(orjson.loads(data) | changed) if name == HEAD else data

    rewrite(backup, change)
    with pytest.raises(ArchiveDamaged, match="head of the backup is damaged"):
        check(backup)


def test_a_member_has_no_negative_size(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = -1_024
    path = tmp_path / "any.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2_048))
    with path.open("rb") as file, pytest.raises(ArchiveDamaged):
        list(ArchiveReader(file).members())
