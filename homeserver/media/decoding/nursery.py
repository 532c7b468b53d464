"""The process whose children decode what cannot be trusted, one child for each piece of work.

It is a Python of its own, without the server's memory, secrets and environment. It loads what the
work takes once, waits at its standard input, a socket, and forks for each message; it never looks
at untrusted bytes itself. A message is JSON and brings the files that the work is to be done on;
the first one takes the answer, which is JSON too. A child that dies answers nothing. When the
socket is closed, the process ends. Before the first message it says that it is ready.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from homeserver.media.decoding.confinement import confine
from homeserver.media.decoding.limits import Limits

MAX_MESSAGE_BYTES = 16_384
MAX_FILES = 4
NICENESS = 5
READY = b"ready"
"""What is said on the socket once everything is loaded."""
EAGER_TO_DIE = b"1000"

Job = Callable[[Mapping[str, Any], Sequence[int]], Callable[[], Mapping[str, Any]]]
"""Takes hold of open files, given what is asked for; what it returns does the work in confinement.

The work raises `Refused`.
"""


class Refused(Exception):
    """The work cannot be done; the message says why, and `reason` is its name."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Work(Protocol):
    """A module of jobs."""

    JOBS: Mapping[str, Job]

    def prepare(self, arguments: Sequence[str]) -> None:
        """Load what the jobs need."""


def main(module: str, *arguments: str) -> None:
    """Serve the jobs of a module until standard input is closed."""
    work: Work = importlib.import_module(module)
    libc = ctypes.CDLL(None)
    yield_to_others()
    work.prepare(arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    control.send(READY)
    while True:
        message, files, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, MAX_FILES)
        if not message:
            return
        if fork() == 0:
            control.close()
            answer(work, libc, json.loads(message), files)
        for file in files:
            os.close(file)


def fork() -> int:
    """Fork; without the memory for it, the work is dropped, which tells the server."""
    try:
        return os.fork()
    except OSError:
        return -1


def yield_to_others() -> None:
    """The server goes first, and this process is the first to go when memory runs out."""
    os.nice(NICENESS)
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    try:
        os.write(score, EAGER_TO_DIE)
    finally:
        os.close(score)


def answer(work: Work, libc: ctypes.CDLL, message: Mapping[str, Any], files: Sequence[int]) -> None:
    """Do one piece of work and end the process."""
    status = 1
    try:
        job = work.JOBS[message["job"]](message["wanted"], files[1:])
        is_filtered = confine(Limits(**message["limits"]), libc)
        result = attempt(job)
        more = {"is_filtered": is_filtered, **cost()}
        os.write(files[0], json.dumps({**result, **more}).encode())
        status = 0
    finally:
        os._exit(status)


def attempt(job: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """The job's result, or why there is none."""
    try:
        return job()
    except Refused as error:
        return {"refused": error.reason, "message": str(error)}
    except MemoryError:
        return {"refused": "too_large", "message": "This takes more memory than it may"}


def cost() -> dict[str, int]:
    """The processor time that this process has taken, and the most memory that it has had."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1000),
        "peak_kib": usage.ru_maxrss,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
