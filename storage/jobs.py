"""Leases of background jobs: of all processes over the database, one at a time runs a job.

A lease has an end, so that a job whose process was killed is taken up by another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from storage.database import Database

State = Mapping[str, Any]
"""What a run of a job leaves for the next: a small JSON object."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Who asks for a lease and when; `until_ts` is its end.

    A due time after `latest_due_ts` can only come from a clock that was set back since.
    """

    holder: int
    now_ts: int
    until_ts: int
    latest_due_ts: int


TAKE = """
    INSERT INTO jobs (name, due_ts, holder, state)
    VALUES ($1, $4, $2, '{}')
    ON CONFLICT (name) DO UPDATE
       SET due_ts = excluded.due_ts, holder = excluded.holder
     WHERE jobs.due_ts <= $3 OR jobs.due_ts > $5 OR jobs.holder = excluded.holder
 RETURNING state
"""


async def take_lease(db: Database, name: str, terms: LeaseTerms) -> State | None:
    """The job's state, for its new holder; None if it is not due or another process runs it."""
    state = await db.fetchval(
        TAKE, name, terms.holder, terms.now_ts, terms.until_ts, terms.latest_due_ts
    )
    return None if state is None else orjson.loads(state)


GIVE_BACK = """
    UPDATE jobs
       SET due_ts = $3, holder = NULL, state = $4
     WHERE name = $1 AND holder = $2
"""


async def give_lease_back(db: Database, name: str, holder: int, due_ts: int, state: State) -> None:
    """End a lease: the job is due again at `due_ts`. Nothing happens if another holds it by now."""
    await db.execute(GIVE_BACK, name, holder, due_ts, orjson.dumps(state))


SELECT_DUE = "SELECT due_ts FROM jobs WHERE name = $1"


async def get_due_ts(db: Database, name: str) -> int:
    """When to ask for a job again that somebody has run or runs."""
    due_ts: int = await db.fetchval(SELECT_DUE, name)
    return due_ts
