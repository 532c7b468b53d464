"""Jobs of a nursery that do what hostile files would like decoders to do."""

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from homeserver.media.decoding.nursery import Refused

Work = Callable[[], Mapping[str, Any]]


def prepare(arguments: Sequence[str]) -> None:
    del arguments


def job(work: Callable[[], Any]) -> Callable[[Mapping[str, Any], Sequence[int]], Work]:
    return lambda wanted, files: lambda: {"result": work()}


def hang() -> None:
    while True:
        time.sleep(60)


def hang_deaf() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    hang()


def spin() -> None:
    while True:
        pass


def take_memory() -> int:
    return len(bytearray(1024 * 1_048_576))


def take_memory_natively() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for _ in range(1024):
        ctypes.memset(libc.malloc(ctypes.c_size_t(1_048_576)), 1, 1_048_576)


def denied(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False


def escape() -> dict[str, bool]:
    """What is denied of all that a decoder has no business with."""
    attempts: dict[str, Callable[[], Any]] = {
        "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "write a file": lambda: os.open("/tmp/escaped", os.O_WRONLY | os.O_CREAT),
        "connect": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "fork": os.fork,
        "kill": lambda: os.kill(os.getppid(), 0),
        "run": lambda: os.execv("/bin/true", ["/bin/true"]),
    }
    return {name: denied(attempt) for name, attempt in attempts.items()}


def look_around() -> dict[str, Any]:
    return dict(os.environ)


def talk_endlessly() -> str:
    return "x" * 1_000_000


def refuse() -> None:
    raise Refused("undecodable", "nonsense")


def held_files(wanted: Mapping[str, Any], files: Sequence[int]) -> Work:
    """What the process has open before it is confined, beside its standard output and files."""
    del wanted
    names = {int(name) for name in os.listdir("/proc/self/fd")} - {1, 2, *files}
    # Without the listing itself, which is closed.
    found = [
        os.readlink(path) for name in names if os.path.lexists(path := f"/proc/self/fd/{name}")
    ]
    return lambda: {"result": found}


JOBS = {
    one.__name__: job(one)
    for one in (
        hang,
        hang_deaf,
        spin,
        take_memory,
        take_memory_natively,
        escape,
        look_around,
        talk_endlessly,
        refuse,
        os.abort,
    )
} | {"held_files": held_files}
