"""The memory of LiveKit in a call, where the kernel gives it no more than so much.

    python -m bench.livekit_memory LIVEKIT [--limit-bytes 65000000] [--unbounded] [-- PYTEST…]

LIVEKIT is the program, as `make calls` or `make images` builds it; LIVEKIT_PYTHON in the
environment the Python that has its client library. The tests of calls are run with it, those of an
audio call of three unless others are named (`-- tests/clients/test_calls.py -k two_people` for two
browsers with a camera each, with CHROMIUM in the environment). LiveKit is started with the
environment that the set-up gives it, inside a memory cgroup that holds the pages of its program
too, from a disk of which nothing is in memory at first. As root.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.bounded_program import bounded_program, usual_disk
from bench.memory_cgroup import Cgroup
from bench.private_database import private_directory

ROOT = Path(__file__).parents[1]
AUDIO = ("tests/calls/test_calls.py", "-k", "talk_and_hear")
AS_SET_UP = {"GOGC": "40", "GOMEMLIMIT": "100MiB", "GODEBUG": "memprofilerate=0"}
UNBOUNDED = 2**40
SAMPLE_S = 0.25


@dataclass
class Watched:
    """The most that LiveKit took, in KiB, and the processor time of the longest run."""

    most: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def look(self, pid: int) -> None:
        """Take note of what a process has now."""
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        for name in ("Rss", "Anonymous"):
            self.most[name] = max(self.most.get(name, 0), sizes[name])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.seconds = max(self.seconds, sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("livekit", type=Path)
    parser.add_argument("--limit-bytes", type=int, default=65_000_000)
    parser.add_argument("--unbounded", action="store_true", help="the same without a bound")
    parser.add_argument("tests", nargs="*", default=list(AUDIO))
    asked = parser.parse_args()
    limit = UNBOUNDED if asked.unbounded else asked.limit_bytes
    with (
        private_directory() as directory,
        usual_disk(directory) as disk,
        bounded_program(asked.livekit, disk, limit) as livekit,
    ):
        watched = Watched()
        with watching(livekit.cgroup, watched):
            passed = run_tests(livekit.launcher, asked.tests)
        print(
            f"LiveKit: resident {watched.most.get('Rss', 0) / 1024:.1f} MiB at most, its own"
            f" {watched.most.get('Anonymous', 0) / 1024:.1f} MiB at most,"
            f" {watched.seconds:.2f} s of processor time"
        )
        print(livekit.cgroup.verdict())
        within = passed and not livekit.cgroup.ended
    sys.exit(0 if within else 1)


def run_tests(program: Path, tests: list[str]) -> bool:
    """Whether they pass."""
    environment = {**AS_SET_UP, **os.environ, "LIVEKIT_SERVER": str(program)}
    command = [sys.executable, "-m", "pytest", "-m", "calls", "-q", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


@contextmanager
def watching(cgroup: Cgroup, watched: Watched) -> Iterator[None]:
    """Looks at what runs inside, again and again."""
    done = threading.Event()

    def watch() -> None:
        while cgroup.directory is not None and not done.wait(SAMPLE_S):
            for pid in (cgroup.directory / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError, KeyError):
                    watched.look(int(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
