"""Time as an argument."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives milliseconds since the Unix epoch."""


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000
