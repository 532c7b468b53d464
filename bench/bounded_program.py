"""A program that runs in a memory cgroup, from a disk of which nothing is in memory at first.

The pages of a program and of its libraries count for the cgroup whose process reads them first.
Those that others have in memory already would count for nobody here, so it runs from copies.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.memory_cgroup import MEBIBYTE, Cgroup, memory_cgroup

DISK_MIB = 120
READ_AHEAD_KB = 128
"""What the kernel reads at once of a disk, as of a card or a stick, unless told otherwise. Virtual
machines are told to read many times that, which in a small cgroup drives out what was read before.
Of flash without a controller of its own (UBIFS, JFFS2) it reads a page of 4 KiB at a time."""


@dataclass(frozen=True)
class BoundedProgram:
    """A program to be started, and the cgroup that it will be in."""

    launcher: Path
    """A script that runs the program inside, with the arguments it is given."""
    cgroup: Cgroup


@contextmanager
def bounded_program(program: Path, disk: Path, limit: int) -> Iterator[BoundedProgram]:
    """A program with `limit` bytes for its processes and for its pages of files."""
    directory = disk / program.name
    directory.mkdir()
    command = fresh_command(program, directory)
    with memory_cgroup(limit, program.name) as cgroup:
        launcher = directory / "launcher.sh"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join([*cgroup.join, *command])} "$@"\n')
        launcher.chmod(0o755)
        yield BoundedProgram(launcher, cgroup)


def fresh_command(program: Path, directory: Path) -> list[str]:
    """The command that runs a copy of a program with copies of its libraries."""
    copy = str(fresh_copy(program, directory))
    libraries = [fresh_copy(one, directory) for one in libraries_of(program)]
    loaders = [one for one in libraries if one.name.startswith("ld-")]
    return [str(loaders[0]), "--library-path", str(directory), copy] if loaders else [copy]


def libraries_of(program: Path) -> list[Path]:
    """The libraries that are linked to a program and what loads them; none if all is in it."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(word) for word in listed.split() if word.startswith("/")]


def fresh_copy(file: Path, directory: Path) -> Path:
    """A copy of a file of which no page is in memory."""
    copy = directory / file.name
    shutil.copy(file, copy)
    with copy.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return copy


@contextmanager
def usual_disk(directory: Path, read_ahead_kb: int = READ_AHEAD_KB) -> Iterator[Path]:
    """A directory on a disk of its own, of which so much is read at once.

    Where none can be made it is on the same disk as everything else.
    """
    mounted = directory / "disk"
    mounted.mkdir()
    with ExitStack() as stack:
        try:
            device = make_disk(directory / "disk.img")
        except (OSError, subprocess.CalledProcessError):
            print("no disk of its own can be made here: what is read at once may spoil the figures")
        else:
            stack.callback(run_anyway, "losetup", "--detach", device)
            queue = Path("/sys/block") / Path(device).name / "queue" / "read_ahead_kb"
            queue.write_text(str(read_ahead_kb))
            subprocess.run(["mount", device, mounted], check=True)
            stack.callback(run_anyway, "umount", "--lazy", mounted)
        yield mounted


def make_disk(image: Path) -> str:
    """The device of a new disk that is in a file."""
    with image.open("wb") as file:
        file.truncate(DISK_MIB * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    # Read past the cache of the file that it is in, which would count a second time.
    attach = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
    return subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()


def run_anyway(*command: str | Path) -> None:
    """Run what tidies up; that it fails keeps nothing else from it."""
    subprocess.run(command, check=False)
