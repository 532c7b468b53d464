"""Forgetting what other servers sent once they cannot send it again, and what nobody will fetch."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.jobs import State
from storage.outgoing import delete_old_edus
from storage.received_transactions import delete_old_answers
from storage.remote_devices import delete_unshared_lists
from storage.to_device import delete_old_received

DAY_MS = 24 * 3600 * 1000
ANSWERS_KEPT_MS = 2 * DAY_MS
"""Events that come again later are known by their IDs."""
MESSAGE_IDS_KEPT_MS = 60 * DAY_MS
EDUS_KEPT_MS = 60 * DAY_MS
"""A server that was away for longer has to ask for devices and keys anew."""


async def purge_old_transactions(context: JobContext, now_ms: int, state: State) -> State:
    """Delete old answers, message IDs, and EDUs for servers that are long gone.

    And the devices of users with whom no room is shared any more.
    """
    db = context.db
    await delete_in_batches(partial(delete_old_answers, db, now_ms - ANSWERS_KEPT_MS))
    await delete_in_batches(partial(delete_old_received, db, now_ms - MESSAGE_IDS_KEPT_MS))
    await delete_in_batches(partial(delete_old_edus, db, now_ms - EDUS_KEPT_MS))
    await delete_in_batches(partial(delete_unshared_lists, db))
    return state


JOB = Job("purge old transactions", 3600, purge_old_transactions)
