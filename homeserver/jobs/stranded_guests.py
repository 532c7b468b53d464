"""Closing guest accounts that nobody can use any more.

A guest has no password: once its access token is gone, it can never return, and yet it would be
shown as a member of its rooms for ever.
"""

from homeserver.jobs.job import Job, JobContext
from storage.accounts import stranded_guests
from storage.jobs import State

SPARE_MS = 24 * 3600 * 1000
"""An account that is younger may be in the making."""
MOST_AT_ONCE = 100


async def close_stranded_guests(context: JobContext, now_ms: int, state: State) -> State:
    """Deactivate guests without an access token."""
    for user_id in await stranded_guests(context.db, now_ms - SPARE_MS, MOST_AT_ONCE):
        await context.deactivation.deactivate(user_id)
    return state


JOB = Job("close stranded guests", 6 * 3600, close_stranded_guests)
