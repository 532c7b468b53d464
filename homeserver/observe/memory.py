"""The memory of the server and of what belongs to it, as the kernel counts it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of some processes together; what several share counts once in `pss`, each in part."""

    rss: int
    pss: int


def memory_of(processes: Iterable[int]) -> Memory:
    """The memory of processes; those that are gone or not ours to look at count nothing."""
    rss = pss = 0
    for process in processes:
        for name, size in read_rollup(process):
            if name == "Rss":
                rss += size
            elif name == "Pss":
                pss += size
    return Memory(rss, pss)


def read_rollup(process: int) -> list[tuple[str, int]]:
    """The sums over all mappings of a process, in bytes; none where they cannot be read."""
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return []
    fields = (line.split() for line in lines)
    return [(name.rstrip(":"), int(size) * 1024) for name, size, *_ in fields]


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            children.setdefault(parent_of(int(entry.name)), []).append(int(entry.name))
    found = list(children.get(process, ()))
    for one in found:
        found += children.get(one, ())
    return found


def parent_of(process: int) -> int:
    """The process that started a process; 0 for one that is gone."""
    try:
        stat = (PROC / str(process) / "stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
