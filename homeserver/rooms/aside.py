"""Long pure work that lets requests of others pass.

A large room comes with thousands of events at once. Working through them takes a good part of a
second, many times that on a small machine, and nobody else would be answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

AT_ONCE = 100
"""So much is done in place: a thread costs more than it."""


async def aside(work: Callable[[], R], amount: int) -> R:
    """The result of work that only computes; in a thread if it is about many things."""
    return work() if amount <= AT_ONCE else await asyncio.to_thread(work)
