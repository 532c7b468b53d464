"""What a backup costs: time, size, memory, and what those who write meanwhile notice.

    python -m bench.backup [--events 100000] [--media-mib 1024]

A server is started as `hearth run` starts it, with its private PostgreSQL, in a new directory.
Users fill it over loopback; then it is backed up by `hearth backup` while one of them goes on to
write, checked by `hearth backup verify`, and restored by `hearth restore` into another directory.
Memory is the highest resident set of the command itself, without that of PostgreSQL.
"""

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.private_database import private_directory
from tests.homeserver.backup.saving import ENVIRONMENT, command
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.server_process import ServerProcess

MEBIBYTE = 1_048_576
USERS = 8
FILE_BYTES = 2 * MEBIBYTE
WRITES_EVERY_S = 0.05
SAMPLED_EVERY_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--media-mib", type=int, default=1_024)
    asked = parser.parse_args()
    with private_directory() as directory:
        asyncio.run(run(directory, asked.events, asked.media_mib))


async def run(directory: Path, events: int, media_mib: int) -> None:
    server = ServerProcess(directory)
    async with aiohttp.ClientSession() as session:
        await server.start(session)
        try:
            alice, room_id = await fill(server, session, events, media_mib)
            alone = await asyncio.gather(write_until(alice, room_id, asyncio.sleep(10)))
            backup, config = directory / "backup.tar", str(server.config)
            made = asyncio.create_task(measured("backup", str(backup), "--config", config))
            during = await write_until(alice, room_id, made)
        finally:
            await server.stop()
    show("backup", await made)
    print(f"  size {backup.stat().st_size / MEBIBYTE:.0f} MiB")
    print(f"  of it media {media_mib} MiB; data directory {used(directory / 'data'):.0f} MiB")
    print(f"  a message meanwhile (ms): {quantiles(during)}; before: {quantiles(alone[0])}")
    show("verify", await measured("backup", "verify", str(backup)))
    other = directory / "other"
    other.mkdir()
    show("restore", await measured("restore", str(backup), cwd=other))


async def fill(
    server: ServerProcess, session: aiohttp.ClientSession, events: int, media_mib: int
) -> tuple[Client, str]:
    """Rooms with messages of words as letters have them, and files that nothing makes smaller."""
    chance = random.Random(7)
    words = [
        "".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(3_000)
    ]
    began = time.monotonic()

    async def talk(number: int) -> tuple[Client, str]:
        client = Client(session, server.base_url)
        body = {"username": f"user{number}", "password": "a long password"}
        dummy = {"auth": {"type": "m.login.dummy"}}
        Homes.log_in(client, (await client.post("v3/register", body | dummy)).ok())
        room_id = await client.create_room()
        for _ in range(events // USERS):
            await client.send(room_id, " ".join(chance.choices(words, k=chance.randint(3, 20))))
        for _ in range(media_mib * MEBIBYTE // FILE_BYTES // USERS):
            content = os.urandom(FILE_BYTES)
            (await client.request("POST", "/_matrix/media/v3/upload", raw=content)).ok()
        return client, room_id

    filled = await asyncio.gather(*map(talk, range(USERS)))
    print(f"filled in {time.monotonic() - began:.0f} s")
    return filled[0]


async def write_until(client: Client, room_id: str, over: Awaitable[object]) -> list[float]:
    """How long messages take that are sent one after another until something is over, in ms."""
    task, took = asyncio.ensure_future(over), list[float]()
    while not task.done():
        began = time.perf_counter()
        await client.send(room_id, "and on")
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.wait((task,), timeout=WRITES_EVERY_S)
    return took


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: seconds that passed, seconds of the processor, mebibytes of memory."""

    seconds: float
    cpu: float
    memory: float


async def measured(*arguments: str, cwd: Path | None = None) -> Cost:
    """Run a command of hearth and see what it takes."""
    return await asyncio.to_thread(_measured, command(*arguments), cwd)


def _measured(arguments: list[str], cwd: Path | None) -> Cost:
    began = time.monotonic()
    process = subprocess.Popen(arguments, cwd=cwd, env=ENVIRONMENT)
    highest = 0.0
    # What wait4 tells of memory is at least that of this process, which the child began as.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        highest = max(highest, high_water(process.pid))
        time.sleep(SAMPLED_EVERY_S)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began, cpu, highest)


def high_water(pid: int) -> float:
    """The most memory that a process has had resident so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def show(what: str, cost: Cost) -> None:
    print(f"{what}: {cost.seconds:.1f} s, {cost.cpu:.1f} s CPU, {cost.memory:.0f} MiB")


def used(directory: Path) -> float:
    """What a directory takes on the disk, in MiB."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / MEBIBYTE


def quantiles(took: list[float]) -> str:
    """Median and 99th percentile."""
    return f"{statistics.median(took):.1f} and {statistics.quantiles(took, n=100)[-1]:.1f}"


if __name__ == "__main__":
    main()
