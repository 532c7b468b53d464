"""The private PostgreSQL cluster: it starts, survives, is shared and ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from storage.cluster import Cluster, ClusterSettings
from storage.cluster_conf import render
from storage.cluster_errors import ClusterError
from storage.cluster_moves import following_cluster, former_clusters
from storage.cluster_places import MAKING, NEXT, PGDATA, directory_of
from storage.postgres_binaries import BinariesNotFound, find_binaries, stage
from tests.patience import PATIENCE_S

QUICK = ClusterSettings(durable=False)

MakeCluster = Callable[..., Cluster]


@pytest_asyncio.fixture
async def make_cluster(tmp_path: Path) -> AsyncIterator[MakeCluster]:
    """Clusters over one directory, all of them stopped at the end."""
    made: list[Cluster] = []

    def make(directory: Path = tmp_path, settings: ClusterSettings = QUICK) -> Cluster:
        made.append(Cluster(directory, settings))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.stop()


async def value(cluster: Cluster, query: str) -> object:
    connection = await asyncpg.connect(cluster.dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def postmaster_pid(directory: Path) -> int:
    return int((directory / "postgres/data/postmaster.pid").read_text().splitlines()[0])


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_data_outlive_a_stop(make_cluster: MakeCluster) -> None:
    first, second = make_cluster(), make_cluster()
    await first.start()
    await value(first, "CREATE TABLE kept AS SELECT 7 AS number")
    await first.stop()
    assert not first.find_running()
    await second.start()
    assert await value(second, "SELECT number FROM kept") == 7


async def test_commits_wait_for_the_disk_unless_a_test_asks_otherwise() -> None:
    text = render(ClusterSettings(), 18, Path("/run/x"))
    for line in ("fsync = on", "full_page_writes = on", "synchronous_commit = on"):
        assert line in text.splitlines()


async def test_only_the_socket_is_open(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    await cluster.start()
    assert await value(cluster, "SHOW listen_addresses") == ""
    socket_dir = Path(str(await value(cluster, "SHOW unix_socket_directories")))
    assert socket_dir.stat().st_mode & 0o777 == 0o700


async def test_letters_have_cases_in_every_alphabet(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    await cluster.start()
    assert await value(cluster, "SELECT lower('ÀÉΣЖ')") == "àéσж"
    assert await value(cluster, "SELECT 'a' > 'B'")  # by code point


async def test_a_killed_postmaster_is_started_again(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(settings=ClusterSettings())
    await cluster.start()
    await value(cluster, "CREATE TABLE kept AS SELECT 7 AS number")
    watch = asyncio.create_task(cluster.watch())
    await asyncio.sleep(0)
    killed = postmaster_pid(tmp_path)
    os.kill(killed, signal.SIGKILL)

    async def is_back() -> bool:
        try:
            return postmaster_pid(tmp_path) != killed and await value(cluster, "SELECT 1") == 1
        except (OSError, asyncpg.PostgresError, IndexError, ValueError):
            return False

    await eventually(is_back)
    assert await value(cluster, "SELECT number FROM kept") == 7
    watch.cancel()


async def test_a_killed_server_leaves_a_cluster_that_the_next_one_takes_over_and_stops(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    program = (
        "import asyncio, os, pathlib, sys\n"
        "from storage.cluster import Cluster, ClusterSettings\n"
        "cluster = Cluster(pathlib.Path(sys.argv[1]), ClusterSettings(durable=False))\n"
        "asyncio.run(cluster.start())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    pid = postmaster_pid(tmp_path)
    cluster = make_cluster()
    await cluster.start()
    assert postmaster_pid(tmp_path) == pid
    await cluster.stop()
    assert not cluster.find_running()


async def test_a_pid_file_whose_number_another_process_has_now_does_no_harm(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    first, second = make_cluster(), make_cluster()
    await first.start()
    text = (tmp_path / "postgres/data/postmaster.pid").read_text()
    await first.stop()
    other = subprocess.Popen(["sleep", "60"])
    try:
        stale = "\n".join([str(other.pid), *text.splitlines()[1:]])
        (tmp_path / "postgres/data/postmaster.pid").write_text(stale)
        await second.start()
        assert await value(second, "SELECT 1") == 1
    finally:
        other.kill()
        other.wait()


async def test_the_last_server_to_leave_stops_the_cluster(make_cluster: MakeCluster) -> None:
    starter, joiner = make_cluster(), make_cluster()
    await asyncio.gather(starter.start(), joiner.start())
    assert starter.dsn == joiner.dsn
    await starter.stop()
    assert await value(joiner, "SELECT 1") == 1
    await joiner.stop()
    assert not joiner.find_running()


async def test_a_directory_may_be_closed_and_its_path_long(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    closed = tmp_path / ("x" * 120)
    closed.mkdir(mode=0o700)
    cluster = make_cluster(closed)
    await cluster.start()
    assert await value(cluster, "SELECT 1") == 1


@pytest.mark.parametrize("source", ["package", "system"])
async def test_both_sources_of_postgresql_serve(make_cluster: MakeCluster, source: str) -> None:
    try:
        find_binaries(source)
    except BinariesNotFound:
        pytest.skip(f"there is no PostgreSQL from {source} here")
    cluster = make_cluster(settings=replace(QUICK, binaries=source))
    await cluster.start()
    assert await value(cluster, "SELECT 1") == 1


async def test_without_postgresql_it_says_how_to_get_one(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(settings=replace(QUICK, binaries=str(tmp_path)))
    with pytest.raises(ClusterError, match=r"pip install .*apt-get install postgresql"):
        await cluster.start()


async def test_a_failed_start_tells_what_postgresql_said(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster, broken = make_cluster(), make_cluster()
    await cluster.start()
    await cluster.stop()
    (tmp_path / "postgres/data/postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(ClusterError, match="shared_buffers"):
        await broken.start()


def test_a_staged_copy_of_the_package_runs(tmp_path: Path) -> None:
    try:
        packaged = find_binaries("package")
    except BinariesNotFound:
        pytest.skip("the package is not here")
    copy = stage(packaged, tmp_path)
    said = subprocess.run(
        [copy.program("initdb"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=copy.environment(),
    )
    assert f" {packaged.major}." in said.stdout
    assert stage(packaged, tmp_path) == copy


async def make_with(cluster: Cluster, number: int) -> None:
    """A cluster with a number in it, stopped."""
    await cluster.start()
    await value(cluster, f"CREATE TABLE kept AS SELECT {number} AS number")
    await cluster.stop()


async def test_what_an_interrupted_initialisation_left_is_no_cluster(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    half = directory_of(tmp_path) / MAKING
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (half / "base").mkdir()
    cluster = make_cluster()
    await cluster.start()
    assert await value(cluster, "SELECT 1") == 1
    assert not half.exists()


async def test_a_cluster_follows_another_only_when_it_is_complete(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    present = make_cluster()
    await make_with(present, 1)
    with pytest.raises(ZeroDivisionError):
        async with following_cluster(tmp_path, QUICK):
            raise ZeroDivisionError
    await present.start()
    assert await value(present, "SELECT number FROM kept") == 1
    with pytest.raises(ClusterError, match="in use"):
        async with following_cluster(tmp_path, QUICK):
            pass
    await present.stop()
    async with following_cluster(tmp_path, QUICK) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 2 AS number")
        await connection.close()
    await present.start()
    assert await value(present, "SELECT number FROM kept") == 2
    assert len(former_clusters(tmp_path)) == 1


@pytest.mark.parametrize("former_is_moved", [False, True])
async def test_who_starts_next_ends_what_a_power_cut_interrupted(
    make_cluster: MakeCluster, tmp_path: Path, *, former_is_moved: bool
) -> None:
    directory = directory_of(tmp_path)
    await make_with(make_cluster(), 2)
    (directory / PGDATA).rename(directory / NEXT)
    first = directory / (f"{PGDATA}.18" if former_is_moved else PGDATA)
    first.mkdir()
    (first / "PG_VERSION").write_text("18\n")
    cluster = make_cluster()
    await cluster.start()
    assert await value(cluster, "SELECT number FROM kept") == 2
    assert not (directory / NEXT).exists()
    assert former_clusters(tmp_path) == [directory / f"{PGDATA}.18"]
