"""Deleting much in small steps, so that nobody waits for locks and a commit stays short."""

from collections.abc import Awaitable, Callable

BATCH = 500
MOST_BATCHES = 200
"""What a run deletes at most; the next run goes on."""


async def delete_in_batches(delete: Callable[[int], Awaitable[int]]) -> None:
    """Call `delete` with the number of rows that it may delete, until it finds fewer."""
    for _ in range(MOST_BATCHES):
        if await delete(BATCH) < BATCH:
            return
