"""A cgroup of the kernel that bounds memory, of whichever version the machine has.

What counts is all that its processes were the first to touch: their own memory, and the pages of
files that they read or run, which the kernel takes back when it must. How often it had to read one
again is told: a bound that is too tight shows there first.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1_048_576
CGROUP_1 = Path("/sys/fs/cgroup/memory")
CGROUP_2 = Path("/sys/fs/cgroup")
DISK_MIB = 120
READ_AHEAD_KB = 128
"""What the kernel reads at once of a disk unless told otherwise. Virtual machines are told to read
many times that, which in a small cgroup drives out what was read before."""


@dataclass(frozen=True)
class Cgroup:
    """A cgroup that bounds memory; without a directory there are no bounds."""

    directory: Path | None
    limit: int

    @property
    def join(self) -> tuple[str, ...]:
        """The command in front of another that has it run inside."""
        if self.directory is None:
            return ()
        return ("sh", "-c", f'echo $$ > {self.directory}/cgroup.procs && exec "$@"', "sh")

    @property
    def peak(self) -> int:
        """The most that was ever inside, in bytes."""
        return self._read("memory.max_usage_in_bytes", "memory.peak")

    @property
    def ended(self) -> int:
        """How many processes the kernel ended because there was no memory left."""
        return self._sum(("memory.oom_control", "memory.events"), "oom_kill ")

    @property
    def read_again(self) -> int:
        """How many pages of files were read again that had been taken back."""
        return self._sum(("memory.stat",), "workingset_refault_file ")

    def verdict(self) -> str:
        """All of it in words."""
        if self.directory is None:
            return "no memory cgroup can be made here: the run was not bounded"
        return (
            f"cgroup of {self.limit / MEBIBYTE:.1f} MiB: at most {self.peak / MEBIBYTE:.1f} MiB"
            f" with all file cache, {self.ended} processes ended for want of memory,"
            f" {self.read_again} pages of files read again"
        )

    def _read(self, *names: str) -> int:
        if self.directory is not None:
            for name in names:
                with contextlib.suppress(OSError):
                    return int((self.directory / name).read_text())
        return 0

    def _sum(self, names: tuple[str, ...], key: str) -> int:
        if self.directory is not None:
            for name in names:
                with contextlib.suppress(OSError):
                    lines = (self.directory / name).read_text().splitlines()
                    return sum(int(line.split()[1]) for line in lines if line.startswith(key))
        return 0


@contextmanager
def memory_cgroup(limit: int, name: str = "bench") -> Iterator[Cgroup]:
    """A new cgroup."""
    is_first = (CGROUP_1 / "memory.limit_in_bytes").exists()
    directory = (CGROUP_1 if is_first else CGROUP_2) / f"hearth-{name}-{os.getpid()}"
    try:
        directory.mkdir()
        setting = "memory.limit_in_bytes" if is_first else "memory.max"
        (directory / setting).write_text(str(limit))
    except OSError:
        yield Cgroup(None, limit)
        return
    try:
        yield Cgroup(directory, limit)
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                directory.rmdir()
                break
            time.sleep(0.1)


@contextmanager
def usual_disk(directory: Path) -> Iterator[Path]:
    """A directory on a disk of its own, of which as much is read at once as of a router's.

    Where none can be made it is on the same disk as everything else.
    """
    image, mounted = directory / "disk.img", directory / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_MIB * MEBIBYTE)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
        # Read past the cache of the file that it is in, which would count a second time.
        attach = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
        device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        print("no disk of its own can be made here: how much is read at once may spoil the figures")
        yield mounted
        return
    try:
        queue = Path("/sys/block") / Path(device).name / "queue" / "read_ahead_kb"
        queue.write_text(str(READ_AHEAD_KB))
        subprocess.run(["mount", device, mounted], check=True)
        yield mounted
        subprocess.run(["umount", "--lazy", mounted], check=False)
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


def fresh_copy(program: Path, disk: Path) -> Path:
    """A copy of a program of which no page is in memory yet."""
    copy = disk / program.name
    shutil.copy(program, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return copy
