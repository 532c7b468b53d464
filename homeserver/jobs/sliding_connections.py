"""Forgetting connections of sliding sync that nobody comes back to."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.sliding_connections import (
    delete_connections_of_lost_devices,
    delete_unused_connections,
)

KEPT_MS = 30 * 24 * 3600 * 1000
"""A client that comes back later has to fetch its rooms anew."""


async def purge_sliding_connections(context: JobContext, now_ms: int, state: State) -> State:
    """Delete connections that were not used for long, and those of devices that are gone."""
    db = context.db
    await delete_in_batches(partial(delete_unused_connections, db, now_ms - KEPT_MS))
    await delete_in_batches(partial(delete_connections_of_lost_devices, db))
    return state


JOB = Job("purge sliding connections", 6 * 3600, purge_sliding_connections)
