"""Logging out devices that nobody has used for long, where the operator wants that."""

from homeserver.jobs.job import Job, JobContext
from storage.devices import stale_devices
from storage.jobs import State

MOST_USERS = 200


async def remove_unused_devices(context: JobContext, now_ms: int, state: State) -> State:
    """Remove devices that were last used too long ago; those who know of them hear of it."""
    lifetime_s = context.settings.auth.unused_device_lifetime_s
    if lifetime_s:
        seen_before = now_ms - lifetime_s * 1000
        for user_nid, user_id, ids in await stale_devices(context.db, seen_before, MOST_USERS):
            await context.devices.remove(user_nid, user_id, ids)
    return state


JOB = Job("remove unused devices", 6 * 3600, remove_unused_devices)
