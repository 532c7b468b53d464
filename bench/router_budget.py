"""The memory of hearth and its PostgreSQL on a router: idle, and at work for ten people.

    python -m bench.router_budget LAUNCHER [--limit-mib 160] [--seconds 60]
        [--livekit LIVEKIT [--read-ahead-kb 128]]

LAUNCHER is tests/peers/hearth-launcher. The server is started inside a memory cgroup of the kernel
that ends it if it takes more than the limit, file cache included (as root; without root it runs
unbounded, and says so). Ten people sync, five by /sync and five by sliding sync, each writes every
other second and sends a photograph of 3000 x 2000 now and then, of which the others fetch two
thumbnails; a second hearth outside the cgroup, with a user in one of the rooms, talks back.

Memory is counted twice: "pss" as the kernel shares it out, in which the second server and whatever
else runs from the same files take their part; and "alone", as if nothing else did: anonymous and
shared memory of all processes, and the pages of files once.

With LIVEKIT, the program, everything of a router runs: the nginx of the set-up is before the
server, and two of the ten are in a call all the while. LiveKit has a cgroup of its own, of
65,000,000 bytes, and nginx one of 5,000,000; both run from copies on a disk of which so many KiB
are read at once. LIVEKIT_PYTHON in the environment is the Python that has its client library
(`make calls` makes one).
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from bench.bandwidth import FILTER, User, ready, register
from bench.bounded_program import READ_AHEAD_KB, bounded_program, usual_disk
from bench.media import MEBIBYTE, UPLOAD, family, free_ports
from bench.memory_cgroup import Cgroup, memory_cgroup
from bench.private_database import private_directory
from bench.router_call import SETTINGS as TOLD_OF_LIVEKIT
from bench.router_call import Beside, beside, call_of, own_network
from bench.sliding_sync import PATH as SLIDING_PATH
from bench.sliding_sync import request as sliding_request
from bench.thumbnails import write_picture
from tests.packaging.proxy import NGINX_PROGRAM

SWITCH = "HEARTH_PROFILE__SMALL_MEMORY"
"""On unless the environment says otherwise."""
PEOPLE = 10
ROOMS = 5
IDLE_BUDGET_BYTES = 100_000_000
LOAD_BUDGET_BYTES = 150_000_000
LIVEKIT_BUDGET_BYTES = 65_000_000
NGINX_BUDGET_BYTES = 5_000_000
SETTLE_S = 10
SAMPLE_S = 0.5
WRITES_EVERY_S = 2.0
PICTURE_EACH = 10
"""So many messages to a picture."""
THUMBNAILS = ({"width": 96, "height": 96, "method": "crop"}, {"width": 800, "height": 600})
SIGNS = {"Rss:": 1, "Anonymous:": -1}
"""What of a mapping is the file's: all that is in memory, without what was written to."""
NO_FILES = ("/dev/", "/SYSV", "/memfd")
"""Shared memory appears under such names."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("launcher", type=Path)
    parser.add_argument("--limit-mib", type=int, default=160)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--livekit", type=Path)
    parser.add_argument("--read-ahead-kb", type=int, default=READ_AHEAD_KB)
    asked = parser.parse_args()
    os.environ.setdefault(SWITCH, "true")
    with ExitStack() as stack:
        directory = stack.enter_context(private_directory())
        cgroup = stack.enter_context(memory_cgroup(asked.limit_mib * MEBIBYTE))
        bounds = {"hearth": cgroup}
        surroundings: Surroundings = nothing_beside
        told: dict[str, str] = {}
        if asked.livekit is not None:
            stack.enter_context(own_network())
            disk = stack.enter_context(usual_disk(directory, asked.read_ahead_kb))
            surroundings = stack.enter_context(with_livekit(asked.livekit, directory, disk, bounds))
            told = TOLD_OF_LIVEKIT
        router = Router(asked.launcher, directory, cgroup, surroundings, told)
        within = asyncio.run(run(router, asked.seconds))
        for name, one in bounds.items():
            print(f"{name}: {one.verdict()}")
            within = within and not one.ended
    sys.exit(0 if within else 1)


Surroundings = Callable[["Server"], AbstractAsyncContextManager[Beside | None]]
"""Starts what runs beside a server."""


@dataclass(frozen=True)
class Router:
    """What runs on the router, and how."""

    launcher: Path
    directory: Path
    cgroup: Cgroup
    surroundings: Surroundings
    told: dict[str, str]
    """Settings of the server, as its environment has them."""


@asynccontextmanager
async def nothing_beside(_ours: "Server") -> AsyncIterator[None]:
    yield None


@contextmanager
def with_livekit(
    livekit: Path, directory: Path, disk: Path, bounds: dict[str, Cgroup]
) -> Iterator[Surroundings]:
    """LiveKit and nginx, each within its budget, which is added to the bounds."""
    assert NGINX_PROGRAM is not None, "this measurement needs an nginx"
    with (
        bounded_program(livekit, disk, LIVEKIT_BUDGET_BYTES) as calls,
        bounded_program(Path(NGINX_PROGRAM), disk, NGINX_BUDGET_BYTES) as proxy,
    ):
        bounds |= {"LiveKit": calls.cgroup, "nginx": proxy.cgroup}
        yield lambda ours: beside(calls, proxy, directory, ours.http)


async def run(router: Router, seconds: int) -> bool:
    picture = make_picture(router.directory)
    authority = make_authority(router.directory)
    ours_in, theirs_in = router.directory / "ours", router.directory / "theirs"
    async with (
        started(router.launcher, ours_in, authority, router.cgroup.join, router.told) as ours,
        started(router.launcher, theirs_in, authority) as theirs,
        router.surroundings(ours) as others,
        AsyncExitStack() as stack,
    ):
        await asyncio.sleep(SETTLE_S)
        idle = take_sample(ours.process)
        print_sample("idle, empty", idle)
        session = others.session if others else ours.session
        people = [await register(session, f"user{n}") for n in range(PEOPLE)]
        friend = await register(theirs.session, "friend")
        life = Life(people, friend, await make_rooms(people, friend, ours.name), picture)
        if others:
            await stack.enter_async_context(call_of(people[:2], life.rooms[0]))
        samples = await watched(ours.process, life.live(seconds))
        if others:
            print_beside(others)
        print_sample("at work, mean", mean(samples))
        worst = max(samples, key=lambda one: one.alone)
        print_sample("at work, most", worst)
        await asyncio.sleep(SETTLE_S)
        print_sample("afterwards", take_sample(ours.process))
    print(f"messages {life.written}, pictures {life.pictures}, thumbnails {life.thumbnails},")
    print(f"answers of sync {life.heard}, messages of the other server heard {life.from_afar}")
    print(f"failed requests: {life.failures}")
    return (
        idle.alone <= IDLE_BUDGET_BYTES
        and worst.alone <= LOAD_BUDGET_BYTES
        and not life.failures
        and life.from_afar > 0
    )


# -- memory -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Bytes: by program alone, and the proportional sizes together."""

    parts: dict[str, int]
    pss: int

    @property
    def alone(self) -> int:
        return sum(self.parts.values())


def take_sample(process: int) -> Sample:
    """The memory of a server and of what it has started."""
    parts: dict[str, int] = {}
    files: dict[str, int] = {}
    pss = 0
    for pid in family(process):
        part = part_of(pid, process)
        sizes = rollup(pid)
        pss += sizes.get("Pss", 0)
        size = sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0)
        # What several have of one file is mostly the same pages of it.
        for path, resident in resident_files(pid).items():
            size += max(0, resident - files.get(path, 0))
            files[path] = max(resident, files.get(path, 0))
        parts[part] = parts.get(part, 0) + size
    return Sample(parts, pss)


def part_of(pid: int, server: int) -> str:
    if pid == server:
        return "server"
    with contextlib.suppress(OSError):
        if b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return "postgresql"
    return "media"


def rollup(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def resident_files(pid: int) -> dict[str, int]:
    """The bytes of each file that a process has in memory and has not written to."""
    found: dict[str, int] = {}
    path = ""
    try:
        with Path(f"/proc/{pid}/smaps").open() as lines:
            for line in lines:
                name, *values = line.split()
                if not name.endswith(":"):
                    path = values[4] if len(values) == 5 else ""
                elif name in SIGNS and path.startswith("/") and not path.startswith(NO_FILES):
                    found[path] = found.get(path, 0) + SIGNS[name] * int(values[0]) * 1024
    except OSError:
        return found
    return found


def mean(samples: list[Sample]) -> Sample:
    parts = {name for one in samples for name in one.parts}
    return Sample(
        {name: sum(one.parts.get(name, 0) for one in samples) // len(samples) for name in parts},
        sum(one.pss for one in samples) // len(samples),
    )


def print_sample(title: str, sample: Sample) -> None:
    parts = ", ".join(
        f"{name} {size / MEBIBYTE:.1f}" for name, size in sorted(sample.parts.items())
    )
    alone, pss = sample.alone / MEBIBYTE, sample.pss / MEBIBYTE
    print(f"{title:15} alone {alone:6.1f} MiB ({parts}); pss {pss:6.1f} MiB", flush=True)


def print_beside(others: Beside) -> None:
    sizes = (f"{name} {size / MEBIBYTE:.1f} MiB" for name, size in others.sizes().items())
    print(f"{'beside, pss':15} {', '.join(sizes)}", flush=True)


async def watched(process: int, work: Any) -> list[Sample]:
    """Samples taken while some work is done."""
    samples: list[Sample] = []

    async def watch() -> None:
        while True:
            samples.append(await asyncio.to_thread(take_sample, process))
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return samples


# -- servers ------------------------------------------------------------------------------------


@dataclass
class Server:
    name: str
    process: int
    session: aiohttp.ClientSession
    http: int


def make_authority(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "ca.crt", directory / "ca.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=bench", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@asynccontextmanager
async def started(
    launcher: Path,
    directory: Path,
    authority: tuple[Path, Path],
    before: tuple[str, ...] = (),
    told: dict[str, str] = {},  # noqa: B006 - nobody changes it
) -> AsyncIterator[Server]:
    """A server that answers, behind the command `before`, told more by its environment."""
    http, tls = free_ports(2)
    name = f"127.0.0.1:{tls}"
    arguments = ("start", name, "127.0.0.1", directory, *authority)
    process = launch([*before, launcher, *arguments], http, tls, told)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{http}") as session:
            await ready(session)
            yield Server(name, process.pid, session, http)
    finally:
        process.terminate()
        process.wait()


def launch(
    command: list[str | Path], http: int, tls: int, told: dict[str, str]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env={**os.environ, **told, "HTTP_PORT": str(http), "TLS_PORT": str(tls)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# -- people -------------------------------------------------------------------------------------


def make_picture(directory: Path) -> bytes:
    path = directory / "photo.jpg"
    write_picture(path, 3000, 2000, "vips_jpegsave_target", ("Q", 85))
    return path.read_bytes()


async def make_rooms(people: list[User], friend: User, server_name: str) -> list[str]:
    """Rooms in which everybody is; the friend is in the first of them."""
    rooms = []
    for number in range(ROOMS):
        options = {"preset": "public_chat", "name": f"Room {number}"}
        created = await people[0].call("POST", "/_matrix/client/v3/createRoom", options)
        rooms.append(str(created["room_id"]))
        for one in people[1:]:
            await one.call("POST", f"/_matrix/client/v3/join/{quote(rooms[-1])}", {})
    path = f"/_matrix/client/v3/join/{quote(rooms[0])}"
    await friend.call("POST", path, {}, server_name=server_name)
    return rooms


@dataclass
class Life:
    """What ten people do, and what came of it."""

    people: list[User]
    friend: User
    rooms: list[str]
    picture: bytes
    written: int = 0
    pictures: int = 0
    thumbnails: int = 0
    heard: int = 0
    from_afar: int = 0
    failures: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def live(self, seconds: int) -> None:
        """All of them, for so long."""
        lives = [self.listen(one, number) for number, one in enumerate(self.people)]
        lives += [self.write(one, self.rooms) for one in self.people]
        lives.append(self.write(self.friend, self.rooms[:1]))
        tasks = [asyncio.create_task(self.go_on(one)) for one in lives]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def go_on(self, life: Any) -> None:
        try:
            await life
        except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
            self.failures += 1
            print(f"failed: {error!r:.200}", flush=True)

    async def listen(self, user: User, number: int) -> None:
        """Sync without an end, as one app or the other does."""
        token: dict[str, str] = {}
        while True:
            if number % 2:
                reply = await user.call(
                    "POST", SLIDING_PATH, sliding_request("one", 19), timeout=30_000, **token
                )
                token = {"pos": reply["pos"]}
            else:
                reply = await user.call(
                    "GET", "/_matrix/client/v3/sync", filter=FILTER, timeout=30_000, **token
                )
                token = {"since": reply["next_batch"]}
            self.heard += 1
            self.from_afar += json.dumps(reply).count(f'"sender": "{self.friend.user_id}"')

    async def write(self, user: User, rooms: list[str]) -> None:
        """Messages, and now and then a picture that somebody looks at."""
        await asyncio.sleep(self.chance.random() * WRITES_EVERY_S)
        while True:
            room = self.chance.choice(rooms)
            await user.send(room)
            self.written += 1
            if user is not self.friend and self.chance.random() * PICTURE_EACH < 1:
                await self.show_picture(user)
            await asyncio.sleep(self.chance.random() * 2 * WRITES_EVERY_S)

    async def show_picture(self, user: User) -> None:
        # Each is another one: what is there already would not be written or scaled again.
        data = self.picture + self.chance.randbytes(16)
        headers = {**user.headers, "Content-Type": "image/jpeg"}
        async with user.session.post(UPLOAD, data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            path = (await answer.json())["content_uri"].removeprefix("mxc:/")
        self.pictures += 1
        viewer = self.chance.choice(self.people)
        for size in THUMBNAILS:
            async with viewer.session.get(
                f"/_matrix/client/v1/media/thumbnail{path}",
                params={name: str(value) for name, value in size.items()},
                headers=viewer.headers,
            ) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            self.thumbnails += 1


if __name__ == "__main__":
    main()
