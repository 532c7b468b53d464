"""Deleting previews of URLs that are no longer shown, with their pictures."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.url_previews import delete_expired_previews

KEEP_EXPIRED_MS = 2 * 24 * 3600 * 1000
"""For so long clients that were given a preview can still get its picture."""


async def purge_old_url_previews(context: JobContext, now_ms: int, state: State) -> State:
    """Delete previews that expired long ago."""
    await delete_in_batches(
        partial(delete_expired_previews, context.db, now_ms - KEEP_EXPIRED_MS, now_ms)
    )
    return state


JOB = Job("purge old URL previews", 3600, purge_old_url_previews)
