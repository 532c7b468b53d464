"""Whether the server works, as it says itself."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp

from homeserver.app import running
from homeserver.config.sections.server import Listener
from homeserver.observe.health import STALLED_AFTER_S, Health
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.patience import PATIENCE_S


async def test_a_server_that_works_says_so_to_anybody_at_every_listener(
    database_url: str, tmp_path: Path
) -> None:
    listeners = (
        Listener(port=0, serves=("client",)),
        Listener(port=0, serves=("federation",)),
    )
    settings = replace(settings_for_tests(database_url, tmp_path), listen=listeners)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        for port in server.http.ports:
            async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                assert answer.status == 200
                assert answer.headers["Cache-Control"] == "no-store"
                assert await answer.json() == {"status": "ok"}


async def test_a_server_that_writes_nothing_any_more_is_not_well(homes: Homes) -> None:
    committer = homes.services.committer
    committer.close()
    while committer.is_running:
        await homes.services.db.fetchval("SELECT 1")
    answer = await homes.nobody().get("/health")
    assert answer.status == 503
    assert answer.body == {
        "status": "failing",
        "reason": "Nothing is written to the database any more",
    }


async def test_a_server_whose_database_does_not_answer_is_not_well_until_it_does(
    homes: Homes,
) -> None:
    db = homes.services.db
    health = Health(db, homes.services.committer, time.monotonic, patience_s=0.05)
    async with AsyncExitStack() as stack:
        for _ in range(homes.services.settings.database.pool_size):
            await stack.enter_async_context(db.transaction())
        assert await health.find_problem() == "The database does not answer"
    assert (await homes.nobody().get("/health")).status == 200


async def test_a_server_whose_writes_do_not_end_is_not_well_until_they_do(homes: Homes) -> None:
    alice = await homes.user("alice")
    room_id = await alice.create_room()
    committer = homes.services.committer
    later = Health(homes.services.db, committer, lambda: time.monotonic() + STALLED_AFTER_S + 1)
    await until_well(later)
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(homes.services.db.transaction())
        await held.execute("UPDATE stream SET position = position")
        sending = asyncio.create_task(alice.send(room_id, "held up"))
        while committer.batch_began_s is None:
            await homes.services.db.fetchval("SELECT 1")
        assert await later.find_problem() == "A write to the database has not ended for 30 s"
    await sending
    await until_well(later)


async def until_well(health: Health) -> None:
    """Until nothing is wrong: what is written meanwhile does end."""
    async with asyncio.timeout(PATIENCE_S):
        while await health.find_problem() is not None:
            await asyncio.sleep(0.01)
