"""Forgetting which events were sticky."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.sticky_events import delete_expired_sticky_events


async def purge_expired_sticky_events(context: JobContext, now_ms: int, state: State) -> State:
    """Forget those whose time is over; the events themselves stay."""
    await delete_in_batches(partial(delete_expired_sticky_events, context.db, now_ms))
    return state


JOB = Job("purge expired sticky events", 1800, purge_expired_sticky_events)
