"""Forgetting delayed events that were finalised a while ago.

Source: MSC4140, "Retention of finalised delayed events".
"""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.delayed_events import delete_finalised, delete_more_than
from storage.jobs import State

KEEP_MS = 7 * 24 * 3600 * 1000
MOST_OF_USER = 1_000


async def purge_finalised_delayed_events(context: JobContext, now_ms: int, state: State) -> State:
    """Forget what is older than a week, and of a user all but the latest thousand."""
    await delete_in_batches(partial(delete_finalised, context.db, now_ms - KEEP_MS))
    await delete_in_batches(partial(delete_more_than, context.db, MOST_OF_USER))
    return state


JOB = Job("purge finalised delayed events", 3600, purge_finalised_delayed_events)
