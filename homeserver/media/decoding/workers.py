"""The server's side of a nursery: starts it, hands it work, bounds the work, ends it when idle.

A nursery costs some megabytes and its start some tens of milliseconds (docs/performance.md), so it
is started by the first piece of work and lives on for a while after the last one.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from homeserver.media.decoding.limits import Limits

log = logging.getLogger("hearth.media.decoding")

ROOT = Path(__file__).parents[3]
"""Where the packages are that the nursery imports."""
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from homeserver.media.decoding.nursery import main; main(*sys.argv[1:])"  # noqa: E501
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "VIPS_WARNING": "0", "LC_ALL": "C.UTF-8"}
MAX_RESULT_BYTES = 131_072
START_TIMEOUT_S = 60.0
GRACE_S = 5.0
"""The kernel ends a child at its deadline; what has not answered so long after that never will."""


class WorkFailed(Exception):
    """A piece of work came to nothing. `reason` is a name for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Crew:
    """Which nursery, and how much of its work at a time."""

    module: str
    """Where its jobs are."""
    arguments: tuple[str, ...]
    limits: Limits
    at_a_time: int
    max_waiting: int
    idle_s: float


class Workers:
    """Has untrusted bytes decoded by confined processes, as many at a time as the crew is large."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._free = asyncio.Semaphore(crew.at_a_time)
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()
        self._nursery: Nursery | None = None
        self._starting = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        """The end of the last nursery that was let go."""

    async def run(
        self, job: str, wanted: Mapping[str, Any], files: Sequence[int] = ()
    ) -> dict[str, Any]:
        """The result of a piece of work on open files, which are closed when it is done.

        Raises `WorkFailed`: `busy` if too much is waiting, `died` if the process was ended,
        `unavailable` if there cannot be one, else the reason that the work itself gives.
        """
        if len(self._tasks) >= self._crew.at_a_time + self._crew.max_waiting:
            close_all(files)
            raise WorkFailed("busy", "Too much is waiting to be decoded")
        task = asyncio.create_task(self._work(job, wanted, files))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        # A caller that gives up does not end the child, which keeps its place until it is done.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End the nursery and all of its children."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._dismiss()
        if self._leaving is not None:
            await self._leaving

    async def _work(
        self, job: str, wanted: Mapping[str, Any], files: Sequence[int]
    ) -> dict[str, Any]:
        message = orjson.dumps({"job": job, "wanted": wanted, "limits": asdict(self._crew.limits)})
        try:
            async with self._free:
                self._stay()
                answer = await self._ask(message, files)
        finally:
            close_all(files)
            self._leave_when_idle()
        log.debug("%s: %d ms, %d KiB", job, answer["cpu_ms"], answer["peak_kib"])
        if "refused" in answer:
            raise WorkFailed(answer["refused"], answer["message"])
        return answer

    async def _ask(self, message: bytes, files: Sequence[int]) -> dict[str, Any]:
        """What a child answers."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                nursery = await self._present_nursery()
                nursery.send(message, [theirs.fileno(), *files])
            try:
                async with asyncio.timeout(self._crew.limits.seconds + GRACE_S):
                    answer = await read_all(ours)
            except TimeoutError:
                await self._dismiss()
                answer = b""
        if not answer:
            raise WorkFailed("died", "Decoding took more than it may")
        result: dict[str, Any] = orjson.loads(answer)
        return result

    async def _present_nursery(self) -> "Nursery":
        async with self._starting:
            if self._nursery is None or self._nursery.has_ended():
                self._nursery = await Nursery.start(self._crew)
            return self._nursery

    def _forget(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever asked may be gone; asyncio is not to complain that nobody heard of an error.
            task.exception()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave_when_idle(self) -> None:
        self._stay()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._crew.idle_s, self._hang_up)

    def _hang_up(self) -> None:
        """Let an idle nursery go: it ends when nobody speaks to it any more."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            self._leaving = asyncio.create_task(nursery.leave())

    async def _dismiss(self) -> None:
        """End the nursery now; its children end with it."""
        self._stay()
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            await nursery.end()


class Nursery:
    """The running process and the socket on which it hears of work."""

    __slots__ = ("_control", "_process")

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control

    @classmethod
    async def start(cls, crew: Crew) -> "Nursery":
        """A Python without anything of the server's: no environment, no files, no site."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        optimised = ["-O"] * sys.flags.optimize
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(*optimised, "-I", "-S", "-c", START, str(ROOT), crew.module, *crew.arguments),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        nursery = cls(process, ours)
        try:
            is_ready = await nursery.is_ready()
        except asyncio.CancelledError:
            await nursery.end()
            raise
        if not is_ready:
            await nursery.end()
            log.error("%s cannot be loaded: there is no decoding by it", crew.module)
            raise WorkFailed("unavailable", "This server cannot decode this")
        return nursery

    async def is_ready(self) -> bool:
        """Wait until everything is loaded; False if it ends instead, or takes too long."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return bool(await asyncio.get_running_loop().sock_recv(self._control, 16))
        except (TimeoutError, ConnectionError):
            return False

    def has_ended(self) -> bool:
        """Whether it can take no more work."""
        return self._process.returncode is not None

    def send(self, message: bytes, files: Sequence[int]) -> None:
        """Hand over a piece of work. Raises `WorkFailed` if it does not listen."""
        try:
            socket.send_fds(self._control, [message], files)
        except OSError as error:
            raise WorkFailed("died", "The decoding process has ended") from error

    async def leave(self) -> None:
        """Say that there is no more work, and wait until it is gone; end it if it does not go."""
        self._control.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            await self.end()

    async def end(self) -> None:
        """End it and wait until it is gone."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def read_all(stream: socket.socket) -> bytes:
    """What is sent until the other side closes, nothing if that is too much."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) <= MAX_RESULT_BYTES:
        chunk = await loop.sock_recv(stream, 65_536)
        if not chunk:
            return bytes(received)
        received += chunk
    return b""


def close_all(files: Sequence[int]) -> None:
    """Close open files."""
    for file in files:
        os.close(file)
