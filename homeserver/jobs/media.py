"""Deleting media that nobody uses any more, and files that crashes have left."""

from homeserver.jobs.job import Job, JobContext
from storage.jobs import State


async def delete_unused_media(context: JobContext, now_ms: int, state: State) -> State:
    """Forget media as the settings say, and delete the files of what was forgotten."""
    del now_ms
    await context.media.delete_unused()
    await context.media.delete_files()
    return state


async def sweep_files(context: JobContext, now_ms: int, state: State) -> State:
    """Delete files that no content has."""
    del now_ms
    return {"after": await context.media.sweep(state.get("after", ""))}


JOB = Job("delete unused media", 3600, delete_unused_media)
SWEEP = Job("sweep media files", 24 * 3600, sweep_files)
