"""How much a piece of work may take; what server and nursery both know."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one piece of work may take. Memory is counted on top of what the process began with."""

    memory_bytes: int
    seconds: int
    file_bytes: int
    """Of the file that is written."""
