"""A cgroup of the kernel that bounds memory, of whichever version the machine has.

What counts is all that its processes were the first to touch: their own memory, and the pages of
files that they read or run, which the kernel takes back when it must. How often it had to read one
again is told: a bound that is too tight shows there first.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1_048_576
CGROUP_1 = Path("/sys/fs/cgroup/memory")
CGROUP_2 = Path("/sys/fs/cgroup")


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
