"""Deleting what proved for a while who somebody is, once that is long over."""

from functools import partial

from homeserver.jobs.batches import delete_in_batches
from homeserver.jobs.job import Job, JobContext
from storage.interactive_auth import delete_old_auth_sessions
from storage.jobs import State
from storage.short_lived_tokens import delete_expired_tokens
from storage.tokens import delete_ended_access_tokens, delete_ended_refresh_tokens
from storage.validation_sessions import delete_old_sessions

KEEP_ENDED_MS = 30 * 24 * 3600 * 1000
"""For so long a client whose session has ended hears that it may log in again as the same device.

Source: client-server API, "Soft logout".
"""


async def purge_expired_tokens(context: JobContext, now_ms: int, state: State) -> State:
    """Delete expired tokens, sessions of user-interactive authentication, proofs of addresses."""
    db, long_ago = context.db, now_ms - KEEP_ENDED_MS
    lifetime_ms = context.settings.auth.interactive_auth_lifetime_s * 1000
    await delete_in_batches(partial(delete_ended_refresh_tokens, db, long_ago))
    await delete_in_batches(partial(delete_ended_access_tokens, db, long_ago))
    await delete_in_batches(partial(delete_expired_tokens, db, now_ms))
    link_lifetime_ms = context.settings.third_party_ids.token_lifetime_s * 1000
    await delete_in_batches(partial(delete_old_sessions, db, now_ms - link_lifetime_ms))
    await delete_in_batches(partial(delete_old_auth_sessions, db, now_ms - lifetime_ms))
    return state


JOB = Job("purge expired tokens", 3600, purge_expired_tokens)
