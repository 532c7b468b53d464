"""Batches, positions and failures of the committer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import asyncpg
import pytest

from storage.changes import Change
from storage.committer import CHANNEL, PEER_LOCK, Committer, Write
from storage.database import Database, DatabaseUnavailable, connect
from tests.patience import PATIENCE_S

BLOCKED_HERE = """
    FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
"""Other tests wait for locks in other databases of the same cluster."""


@dataclass(frozen=True, slots=True)
class AddRow(Write):
    """A row in a table of the test's own."""

    batches: ClassVar[list[int]] = []
    value: int
    fails: bool = False

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddRow", int]]) -> None:
        cls.batches.append(len(placed))
        await db.execute(
            "INSERT INTO written SELECT * FROM unnest($1::bigint[], $2::integer[])",
            [position for _, position in placed],
            [write.value for write, _ in placed],
        )
        if any(write.fails for write, _ in placed):
            raise ValueError("this write fails")


class Follower:
    """Hears what is published."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    async def published(self, before: int, after: int, changes: Sequence[Change]) -> None:
        self.spans.append((before, after))


@asynccontextmanager
async def committing(url: str, follower: Follower) -> AsyncIterator[Committer]:
    committer = Committer(url, follower.published, {CHANNEL: lambda _: None}, lambda: None)
    await committer.open()
    task = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        committer.close()
        await task


@pytest.fixture
async def table(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database_url)
    await connection.execute("CREATE TABLE written (position bigint, value integer UNIQUE)")
    AddRow.batches.clear()
    yield connection
    await connection.close()


async def test_what_gathers_shares_a_transaction_and_positions_have_no_gap(
    database_url: str, table: asyncpg.Connection
) -> None:
    follower = Follower()
    async with committing(database_url, follower) as committer:
        positions = await asyncio.gather(*(committer.commit(AddRow(n)) for n in range(50)))
    assert sorted(positions) == list(range(1, 51))
    assert len(AddRow.batches) < 10
    assert follower.spans[0][0] == 0
    assert follower.spans[-1][1] == 50


async def test_one_failing_write_fails_alone_and_leaves_no_gap(
    database_url: str, table: asyncpg.Connection
) -> None:
    async with committing(database_url, Follower()) as committer:
        results = await asyncio.gather(
            *(committer.commit(AddRow(n, fails=n == 3)) for n in range(8)), return_exceptions=True
        )
    assert [n for n, result in enumerate(results) if isinstance(result, Exception)] == [3]
    assert isinstance(results[3], ValueError)
    rows = await table.fetch("SELECT position, value FROM written ORDER BY position")
    assert [row["position"] for row in rows] == list(range(1, 8))
    assert 3 not in {row["value"] for row in rows}


async def test_writes_of_one_submission_are_stored_together_or_not_at_all(
    database_url: str, table: asyncpg.Connection
) -> None:
    async with committing(database_url, Follower()) as committer:
        with pytest.raises(ValueError, match="this write fails"):
            await committer.commit(AddRow(1), AddRow(2, fails=True))
        assert await committer.commit(AddRow(1), AddRow(2)) == 2
    assert await table.fetchval("SELECT count(*) FROM written") == 2


async def test_two_committers_of_one_database_never_share_a_position(
    database_url: str, table: asyncpg.Connection
) -> None:
    async with (
        committing(database_url, Follower()) as one,
        committing(database_url, Follower()) as other,
    ):
        assert await table.fetchval("SELECT cardinality(peers) FROM stream") == 2
        positions = await asyncio.gather(
            *((one if n % 2 else other).commit(AddRow(n)) for n in range(100))
        )
    assert sorted(positions) == list(range(1, 101))
    assert await table.fetchval("SELECT cardinality(peers) FROM stream") == 0


async def test_a_lost_connection_fails_what_was_under_way_and_the_next_commit_works(
    database_url: str, table: asyncpg.Connection
) -> None:
    async with committing(database_url, Follower()) as committer:
        await committer.commit(AddRow(1))
        await table.execute("BEGIN")
        await table.execute("SELECT * FROM stream FOR UPDATE")
        waiting = committer.submit(AddRow(2))
        while not await table.fetchval(f"SELECT count(*) {BLOCKED_HERE}"):
            await asyncio.sleep(0.01)
        await table.execute(f"SELECT pg_terminate_backend(pid) {BLOCKED_HERE}")
        with pytest.raises(DatabaseUnavailable):
            await waiting
        await table.execute("COMMIT")
        assert await committer.commit(AddRow(3)) == 2


async def test_a_caller_that_gives_up_does_not_undo_its_write(
    database_url: str, table: asyncpg.Connection
) -> None:
    async with committing(database_url, Follower()) as committer:
        caller = asyncio.create_task(committer.commit(AddRow(1)))
        await asyncio.sleep(0)
        caller.cancel()
        await committer.commit(AddRow(2))
    assert await table.fetchval("SELECT count(*) FROM written") == 2


async def test_writes_are_made_alone_on_what_cannot_change_meanwhile(
    database_url: str, table: asyncpg.Connection
) -> None:
    async def make_next() -> Sequence[Write]:
        values = await table.fetchval("SELECT count(*) FROM written")
        await asyncio.sleep(0.01)  # time enough for the other committer, if it could
        assert await table.fetchval("SELECT count(*) FROM written") == values
        return (AddRow(1_000 + values),)

    async with (
        committing(database_url, Follower()) as one,
        committing(database_url, Follower()) as other,
    ):
        made = [one.submit_alone(make_next) for _ in range(5)]
        for n in range(50):
            await other.commit(AddRow(n))
        positions = await asyncio.gather(*made)
    values = dict(await table.fetch("SELECT position, value FROM written"))
    assert [values[position] for position in positions] == [
        1_000 + position - 1 for position in positions
    ]
    assert len(values) == 55


async def test_whoever_waits_hears_that_the_committer_has_ended(
    database_url: str, table: asyncpg.Connection
) -> None:
    async def published(before: int, after: int, changes: Sequence[Change]) -> None:
        raise ValueError("what follows the stream fails")

    committer = Committer(database_url, published, {})
    committed, other = committer.submit(AddRow(1)), committer.submit_alone(make_nothing)
    with pytest.raises(ValueError, match="what follows the stream fails"):
        await committer.run()
    for waiting in (committed, other, committer.submit(AddRow(2))):
        with pytest.raises(DatabaseUnavailable):
            waiting.result()


async def make_nothing() -> Sequence[Write]:
    return ()


async def test_a_former_connection_that_postgresql_has_kept_holds_nothing_up(
    database_url: str, table: asyncpg.Connection
) -> None:
    """As after a network has lost what was to tell it of the end."""
    async with committing(database_url, Follower()) as committer:
        await committer.commit(AddRow(1))
        assert committer._connection is not None
        await committer._connection.execute("SELECT pg_advisory_unlock_all()")
        former = await connect(database_url)
        await former.execute("SELECT pg_advisory_lock($1, $2)", PEER_LOCK, committer.number)
        await former.execute("BEGIN")
        await former.execute("SELECT * FROM stream FOR UPDATE")
        committer._connection.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await committer.commit(AddRow(2)) == 2
        former.terminate()
