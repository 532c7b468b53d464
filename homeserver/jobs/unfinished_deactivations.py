"""Finishing deactivations that were interrupted."""

from homeserver.jobs.job import Job, JobContext
from storage.jobs import State


async def finish_deactivations(context: JobContext, now_ms: int, state: State) -> State:
    """Log deactivated users out and take them out of their rooms, where that was left undone."""
    del now_ms
    await context.deactivation.resume()
    return state


JOB = Job("finish deactivations", 900, finish_deactivations)
