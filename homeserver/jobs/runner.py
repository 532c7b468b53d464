"""Runs the background jobs, each when it is due, in one of the processes over the database."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

from homeserver.clock import Clock
from homeserver.jobs import (
    announced_devices,
    device_inboxes,
    expired_sticky_events,
    expired_tokens,
    finalised_delayed_events,
    media,
    old_transactions,
    old_url_previews,
    sliding_connections,
    stranded_guests,
    transaction_ids,
    unfinished_deactivations,
    unused_devices,
)
from homeserver.jobs.job import Job, JobContext
from storage.jobs import LeaseTerms, State, get_due_ts, give_lease_back, take_lease

log = logging.getLogger("hearth.jobs")

JOBS = (
    announced_devices.JOB,
    device_inboxes.JOB,
    expired_sticky_events.JOB,
    expired_tokens.JOB,
    finalised_delayed_events.JOB,
    media.JOB,
    media.SWEEP,
    old_transactions.JOB,
    old_url_previews.JOB,
    sliding_connections.JOB,
    stranded_guests.JOB,
    transaction_ids.JOB,
    unfinished_deactivations.JOB,
    unused_devices.JOB,
)

LEASE_S = 600
"""How long a run may take; then it is cut off, since another process may begin the next."""
START_AFTER_S = 60
"""Nothing is run so soon after a start: then all clients come back."""
START_SPREAD_S = 60
"""The first runs after that are spread over so long."""
SHORTEST_WAIT_S = 1.0


def first_wait_s(job: Job, chance: float) -> float:
    """When a job is run for the first time after a start, for a random number from 0 to 1."""
    return START_AFTER_S + chance * min(job.every_s, START_SPREAD_S)


class Runner:
    """Runs jobs until it is cancelled, each after its `first_wait_s`."""

    def __init__(
        self,
        context: JobContext,
        clock: Clock,
        jobs: Sequence[Job],
        first_wait_s: Callable[[Job], float],
    ) -> None:
        self._context = context
        self._clock = clock
        self._jobs = jobs
        self._first_wait_s = first_wait_s
        self._holder = secrets.randbits(63)

    async def run(self) -> None:
        """Run every job again and again."""
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job), name=job.name)

    async def attempt(self, job: Job) -> int:
        """Run a job if it is due and no other process does; when it is to be tried again.

        What goes wrong is logged, and the job keeps its state.
        """
        now = self._clock()
        due_ts = now + job.every_s * 1000
        try:
            state = await take_lease(self._context.db, job.name, self._terms(job, now))
            if state is None:
                return min(due_ts, await get_due_ts(self._context.db, job.name))
            state = await self._run(job, now, state)
            await give_lease_back(self._context.db, job.name, self._holder, due_ts, state)
        except Exception:
            log.exception("The job %r could not be run", job.name)
        return due_ts

    async def _repeat(self, job: Job) -> None:
        await asyncio.sleep(self._first_wait_s(job))
        while True:
            due_ts = await self.attempt(job)
            await asyncio.sleep(max((due_ts - self._clock()) / 1000, SHORTEST_WAIT_S))

    async def _run(self, job: Job, now: int, state: State) -> State:
        try:
            async with asyncio.timeout(LEASE_S):
                return await job.run(self._context, now, state)
        except Exception:
            log.exception("The job %r has failed", job.name)
            return state

    def _terms(self, job: Job, now: int) -> LeaseTerms:
        until_ts = now + LEASE_S * 1000
        latest_due_ts = until_ts + job.every_s * 1000
        return LeaseTerms(self._holder, now, until_ts, latest_due_ts)
