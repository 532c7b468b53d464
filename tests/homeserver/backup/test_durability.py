"""What the commands ask of the disk, and in which order, as the system calls show it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from homeserver.backup.restoring import MARK
from tests.homeserver.backup.saving import command, hearth, run
from tests.homeserver.backup.test_commands import Running, server
from tests.homeserver.backup.test_round_trip import PICTURE, upload

__all__ = ["server"]

STRACE = shutil.which("strace")
TRACED = "fsync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat"
LINE = re.compile(r"^(?P<pid>\d+) +(?P<text>.*)$")
PATHS = re.compile(r'"(?P<named>[^"]*)"|\d+<(?P<opened>[^>]*)>')


def can_trace() -> bool:
    """Containers may forbid it."""
    if STRACE is None:
        return False
    return subprocess.run([STRACE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not trace")


@dataclass(frozen=True)
class Done:
    """A system call that succeeded, and its paths."""

    name: str
    paths: tuple[Path, ...]


def traced(arguments: list[str], cwd: Path, **environment: str) -> list[Done]:
    """The calls of a command that ended well, in their order."""
    log = cwd.parent / "trace"
    assert STRACE is not None
    tracing = [STRACE, "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(log)]
    done = run([*tracing, *command(*arguments)], cwd, environment)
    assert done.returncode == 0, done.stderr
    return list(calls(log.read_text(), cwd))


def calls(log: str, cwd: Path) -> Iterator[Done]:
    """A call of one thread that another one's interrupts has two lines; the end counts."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        found = LINE.match(line)
        assert found is not None
        pid, text = found["pid"], found["text"]
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>")
            continue
        if text.startswith("<..."):
            text = begun.pop(pid) + text.partition("resumed>")[2]
        if not re.search(r"\) += 0$", text):
            continue
        paths = tuple(cwd / (one["named"] or one["opened"]) for one in PATHS.finditer(text))
        yield Done(text.partition("(")[0], paths)


def check_durable(done: list[Done], root: Path) -> list[Path]:
    """Everything that got its name below `root` is there after a power cut; those names."""
    named = []
    for number, call in enumerate(done):
        if not call.paths or not call.paths[-1].is_relative_to(root):
            continue
        target = call.paths[-1]
        if call.name.startswith("rename"):
            assert Done("fsync", call.paths[:1]) in done[:number], f"{target} may be empty"
        elif not call.name.startswith("mkdir"):
            continue
        assert Done("fsync", (target.parent,)) in done[number:], f"{target} may be missing"
        named.append(target)
    return named


async def test_what_is_restored_is_on_the_disk_before_the_mark_goes(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    await upload(server.alice, PICTURE)
    backup, fresh = tmp_path / "backup.tar", tmp_path / "fresh"
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    fresh.mkdir()
    url = {"HEARTH_DATABASE__URL": unmigrated_database_url}
    done = traced(["restore", str(backup)], fresh, **url)
    data, mark = fresh / "data", fresh / "data" / MARK
    # What the mark protects lies between the two times at which it is put on the disk.
    syncs = [number for number, one in enumerate(done) if one == Done("fsync", (data,))]
    (unmarked,) = [number for number, one in enumerate(done) if mark in one.paths]
    named = check_durable(done[:unmarked], fresh)
    (media,) = (data / "media" / "content").rglob("*-*")
    restored = {fresh / "hearth.toml", fresh / "bridge.yaml", data / "signing.key", media}
    assert restored <= set(named)
    first = min(number for number, one in enumerate(done) if one.name.startswith("rename"))
    assert syncs[0] < first
    assert unmarked < syncs[-1]
    assert not [one for one in done[unmarked:] if one.name.startswith("rename")]


async def test_a_backup_is_on_the_disk_when_it_has_its_name(
    server: Running, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    (backups / "hearth-test-20200101T000000Z.tar").write_text("old")
    done = traced(["backup", str(backups), "--keep", "1", "--config", str(server.config)], tmp_path)
    (named,) = check_durable(done, backups)
    assert named.suffix == ".tar"
    # The old one goes when the new one cannot be lost any more.
    (deleted,) = [number for number, one in enumerate(done) if "20200101" in str(one.paths)]
    assert Done("fsync", (backups,)) in done[:deleted]
