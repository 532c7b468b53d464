"""Decoders are confined: what they do to themselves, or try to do, hurts nobody else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from homeserver.media.decoding.limits import Limits
from homeserver.media.decoding.workers import Crew, Workers, WorkFailed
from tests.patience import PATIENCE_S

CREW = Crew(
    module="tests.homeserver.media.misbehaving",
    arguments=(),
    limits=Limits(memory_bytes=64 * 1_048_576, seconds=20, file_bytes=4096),
    at_a_time=2,
    max_waiting=2,
    idle_s=600.0,
)
IMPATIENT = replace(CREW, limits=replace(CREW.limits, seconds=1))


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(CREW)
    yield made
    await made.close()


@pytest.fixture
async def impatient() -> AsyncIterator[Workers]:
    made = Workers(IMPATIENT)
    yield made
    await made.close()


async def reason(workers: Workers, job: str) -> str:
    with pytest.raises(WorkFailed) as failed:
        await workers.run(job, {})
    return failed.value.reason


async def test_a_decoder_reaches_neither_files_nor_network_nor_processes(workers: Workers) -> None:
    answer = await workers.run("escape", {})
    assert answer["is_filtered"]
    assert all(answer["result"].values()), answer


async def test_a_decoder_knows_nothing_of_the_environment(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_SECRET", "secret")
    answer = await workers.run("look_around", {})
    assert "HEARTH_SECRET" not in answer["result"]


async def test_a_decoder_holds_no_files_but_its_own(workers: Workers, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w"):
        answer = await workers.run("held_files", {})
    # The socket for the answer.
    assert [one.partition(":")[0] for one in answer["result"]] == ["socket"]


async def test_what_takes_too_much_memory_fails(workers: Workers) -> None:
    assert await reason(workers, "take_memory") == "too_large"
    assert await reason(workers, "take_memory_natively") == "died"


async def test_what_crashes_fails_and_the_next_one_does_not(workers: Workers) -> None:
    assert await reason(workers, "abort") == "died"
    assert await reason(workers, "refuse") == "undecodable"


@pytest.mark.parametrize("job", ["hang", "spin"])
async def test_what_hangs_is_ended(impatient: Workers, job: str) -> None:
    assert await reason(impatient, job) == "died"


async def test_what_says_too_much_is_not_heard(workers: Workers) -> None:
    assert await reason(workers, "talk_endlessly") == "died"


async def test_what_outlives_its_deadline_is_ended_by_the_server(
    impatient: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.media.decoding.workers.GRACE_S", 0.5)
    assert await reason(impatient, "hang_deaf") == "died"
    # The nursery ended with it; there is a new one, for work that has time.
    impatient._crew = CREW
    assert await reason(impatient, "refuse") == "undecodable"


async def test_more_than_can_wait_is_turned_away(workers: Workers) -> None:
    hanging = [asyncio.create_task(workers.run("hang", {})) for _ in range(4)]
    await asyncio.sleep(0)
    assert await reason(workers, "refuse") == "busy"
    await workers.close()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_files_are_closed_whatever_happens(workers: Workers) -> None:
    reading, writing = os.pipe()
    with pytest.raises(WorkFailed):
        await workers.run("refuse", {}, [reading, writing])
    for file in (reading, writing):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


async def test_an_idle_nursery_ends_and_comes_back() -> None:
    workers = Workers(replace(CREW, idle_s=0.0))
    try:
        first = await workers.run("look_around", {})
        second = await workers.run("look_around", {})
    finally:
        await workers.close()
    assert first["result"] == second["result"]


async def test_a_nursery_that_does_not_go_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.media.decoding.workers.GRACE_S", 0.1)
    workers = Workers(CREW)
    await workers.run("look_around", {})
    assert workers._nursery is not None
    os.kill(workers._nursery._process.pid, signal.SIGSTOP)
    workers._hang_up()
    async with asyncio.timeout(PATIENCE_S):
        await workers.close()


async def test_without_its_library_there_is_no_work() -> None:
    workers = Workers(replace(CREW, module="homeserver.media.decoding.pictures"))
    try:
        # Not loaded: no library is named.
        assert await reason(workers, "measure") == "unavailable"
        assert await reason(workers, "measure") == "unavailable"
    finally:
        await workers.close()
