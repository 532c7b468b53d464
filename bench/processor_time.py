"""Processor time of this process and of a private PostgreSQL."""

import resource
from pathlib import Path


def process_seconds() -> float:
    """What this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def postgres_seconds(directory: Path) -> float:
    """What the PostgreSQL whose data are somewhere in a directory has used, all its processes."""
    total = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "cwd").readlink().is_relative_to(directory):
                continue
            name, _, fields = (process / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if "(postgres" in name:
            utime, stime = fields.split()[11:13]
            total += (int(utime) + int(stime)) / 100
    return total
