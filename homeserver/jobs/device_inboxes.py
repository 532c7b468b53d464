"""Keeping what waits for devices within bounds, for some never come back to fetch it."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.to_device import delete_upto, overflows

MIB = 1_048_576


async def trim_inboxes(context: JobContext, now_ms: int, state: State) -> State:  # noqa: ARG001
    """Delete the oldest messages of devices for which too much waits."""
    cuts = await overflows(context.db, context.settings.limits.device_inbox_mb * MIB)
    if cuts:
        await delete_in_batches(partial(delete_upto, context.db, cuts))
    return state


JOB = Job("trim device inboxes", 3600, trim_inboxes)
