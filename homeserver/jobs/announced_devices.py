"""Telling other servers of our users' devices after a backup was restored.

What they were told after the backup was made is not known any more. The restore has left a gap
between that and the next update of each user (`storage/restores.py`): whoever hears of it fetches
the user's whole list.
"""

from federation.protocol.identifiers import DeviceId, UserId
from homeserver.jobs.batches import MOST_BATCHES
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.restores import find_unannounced, note_announced, users_with_devices

USERS_AT_ONCE = 50


async def announce_devices(context: JobContext, now_ms: int, state: State) -> State:
    """Announce a device of each user, if there was a restore since the last time."""
    del now_ms
    found = await find_unannounced(context.db)
    if found is None:
        return state
    upto = found.announced_upto
    for _ in range(MOST_BATCHES):
        users = await users_with_devices(context.db, upto, USERS_AT_ONCE)
        await context.devices.announce_again(
            [(nid, UserId(user_id), DeviceId(device_id)) for nid, user_id, device_id in users]
        )
        is_last = len(users) < USERS_AT_ONCE
        upto = users[-1][0] if users else upto
        await note_announced(context.db, found.restored_ts, None if is_last else upto)
        if is_last:
            break
    return state


JOB = Job("announce devices after a restore", 900, announce_devices)
