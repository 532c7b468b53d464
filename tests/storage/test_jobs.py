from storage.jobs import LeaseTerms, get_due_ts, give_lease_back, take_lease
from tests.committing import open_store

NAME = "sweep"


def terms(holder: int, now: int) -> LeaseTerms:
    return LeaseTerms(holder, now, until_ts=now + 600, latest_due_ts=now + 10_000)


async def test_only_one_process_holds_a_job(database_url: str) -> None:
    async with open_store(database_url) as store:
        assert await take_lease(store.db, NAME, terms(1, 1_000)) == {}
        assert await take_lease(store.db, NAME, terms(2, 1_000)) is None
        assert await get_due_ts(store.db, NAME) == 1_600


async def test_whoever_asks_again_after_a_lost_answer_has_the_job(database_url: str) -> None:
    async with open_store(database_url) as store:
        await take_lease(store.db, NAME, terms(1, 1_000))
        assert await take_lease(store.db, NAME, terms(1, 1_001)) == {}


async def test_a_job_is_due_again_with_the_state_that_was_left(database_url: str) -> None:
    async with open_store(database_url) as store:
        await take_lease(store.db, NAME, terms(1, 1_000))
        await give_lease_back(store.db, NAME, 1, 5_000, {"upto": 7})
        assert await take_lease(store.db, NAME, terms(1, 4_999)) is None
        assert await take_lease(store.db, NAME, terms(2, 5_000)) == {"upto": 7}


async def test_a_killed_holder_loses_the_job_and_cannot_give_it_back(database_url: str) -> None:
    async with open_store(database_url) as store:
        await take_lease(store.db, NAME, terms(1, 1_000))
        assert await take_lease(store.db, NAME, terms(2, 1_600)) == {}
        await give_lease_back(store.db, NAME, 1, 9_000, {"stale": True})
        assert await get_due_ts(store.db, NAME) == 2_200
        assert await take_lease(store.db, NAME, terms(3, 2_200)) == {}


async def test_a_clock_that_is_set_back_does_not_stop_a_job(database_url: str) -> None:
    async with open_store(database_url) as store:
        await take_lease(store.db, NAME, terms(1, 1_000_000))
        await give_lease_back(store.db, NAME, 1, 1_005_000, {})
        assert await take_lease(store.db, NAME, terms(1, 2_000)) == {}
