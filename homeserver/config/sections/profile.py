"""Many settings by one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """Other defaults for many settings at once; what the file says itself still counts."""

    low_bandwidth: bool = False
    """Spare the line: compressed answers, no presence and no typing notifications, short timelines
    at first, connections that stay open. docs/low-bandwidth.md has the list."""
    small_memory: bool = False
    """Spare memory, for machines with 1 GB or less: three connections to the database, small
    caches, one picture at a time, request bodies of at most 2 MiB. docs/performance.md says what it
    takes."""
