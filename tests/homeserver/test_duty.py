"""Duties, as several processes see them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from federation.protocol.errors import Unknown
from homeserver import duty as duty_module
from homeserver.duty import Duty
from storage.database import Pool, open_pool
from storage.duties import PUSHING
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty_module, "TRY_EVERY_S", 0.01)


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await open_pool(database_url, 6)
    yield made
    await made.close()


class Worker:
    """What one process does while the duty is its own; `begun` has the positions it began from."""

    def __init__(self, db: Pool, number: int) -> None:
        self.duty = Duty(db, PUSHING, number)
        self.begun: asyncio.Queue[int] = asyncio.Queue()

    async def work(self, position: int) -> None:
        self.begun.put_nowait(position)
        await asyncio.Event().wait()

    async def has_begun(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.begun.get()

    @asynccontextmanager
    async def at_work(
        self, work: Callable[[int], Awaitable[None]] | None = None
    ) -> AsyncIterator[None]:
        task = asyncio.create_task(self.duty.hold(work or self.work))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def alive(pool: Pool, number: int) -> AsyncIterator[None]:
    """A process with this number lives."""
    async with pool.transaction() as db:
        await db.execute("SELECT pg_advisory_xact_lock($1, $2)", 0x68656172, number)
        yield


async def test_one_works_and_another_goes_on_from_where_it_ended(pool: Pool) -> None:
    first, second = Worker(pool, 1), Worker(pool, 2)
    async with alive(pool, 1), alive(pool, 2), second.at_work():
        begun_at = await second.has_begun()
        async with first.at_work():
            assert second.duty.is_ours
            assert not await first.duty.is_still_ours()
            assert not await first.duty.note_done(begun_at + 9)
            assert await second.duty.note_done(begun_at + 5)
            assert first.begun.empty()
    async with alive(pool, 1), first.at_work():
        assert await first.has_begun() == begun_at + 5


async def test_the_duty_of_a_process_that_died_is_taken_at_once(pool: Pool) -> None:
    first, second = Worker(pool, 1), Worker(pool, 2)
    async with alive(pool, 2), alive(pool, 1), first.at_work():
        await first.has_begun()
        await pool.execute("UPDATE duties SET holder = 7 WHERE name = $1", PUSHING)
        assert not await first.duty.is_still_ours()
        assert not first.duty.is_ours
        async with second.at_work():
            await second.has_begun()
            assert second.duty.is_ours


async def test_what_cannot_be_done_just_now_is_taken_up_again(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(pool, 1)

    async def fail_once(position: int) -> None:
        if worker.begun.empty() and "cannot be done" not in caplog.text:
            raise Unknown("not now")
        await worker.work(position)

    async with alive(pool, 1), worker.at_work(fail_once):
        await worker.has_begun()
    assert "Pushing cannot be done just now: not now" in caplog.text
    assert not worker.duty.is_ours


async def test_work_of_several_tasks_is_taken_up_again_too(pool: Pool) -> None:
    worker = Worker(pool, 1)
    attempts = 0

    async def fail() -> None:
        raise Unknown("not now")

    async def fail_once(position: int) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        await worker.work(position)

    async with alive(pool, 1), worker.at_work(fail_once):
        await worker.has_begun()
    assert attempts == 2
