"""Forgetting the transaction ids of requests that no client repeats any more.

An event's transaction has no time of its own. Each run notes the time and the stream position as
a mark; the events up to a mark that is old enough are older still.
"""

from functools import partial

from homeserver.jobs.batches import MOST_BATCHES, delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.database import Pool
from storage.jobs import State
from storage.transaction_ids import (
    delete_event_transactions,
    delete_request_transactions,
    stream_position,
)

KEEP_MS = 24 * 3600 * 1000
STRETCH = 2_000
"""Events that are looked at in one statement."""

Mark = tuple[int, int]
"""A time and the stream position that was reached then."""


async def purge_transaction_ids(context: JobContext, now_ms: int, state: State) -> State:
    """Forget what is more than a day old."""
    # A mark from the future was made before the clock was set back.
    marks: list[Mark] = [(ts, position) for ts, position in state.get("marks", ()) if ts <= now_ms]
    purged_upto: int = state.get("purged_upto", 0)
    upto = max((pos for ts, pos in marks if ts <= now_ms - KEEP_MS), default=purged_upto)
    purged_upto = await purge_events(context.db, purged_upto, upto)
    await delete_in_batches(partial(delete_request_transactions, context.db, now_ms - KEEP_MS))
    marks.append((now_ms, await stream_position(context.db)))
    return {
        "purged_upto": purged_upto,
        "marks": [mark for mark in marks if mark[1] > purged_upto],
    }


async def purge_events(db: Pool, after: int, upto: int) -> int:
    """Forget the transactions of events after a position; how far that came towards `upto`."""
    for _ in range(MOST_BATCHES):
        if after >= upto:
            break
        after = await delete_event_transactions(db, after, upto, STRETCH)
    return after


JOB = Job("purge transaction ids", 3600, purge_transaction_ids)
