"""What a process gives up before it looks at untrusted bytes.

It keeps the files that it holds and can open no other, nor a socket; it starts no process; it has
so much memory, processor time and time in all, after which the kernel ends it. Where the kernel
has no filters of system calls, the limits alone hold: no file can be opened with no number left.
"""

import ctypes
import os
import resource
import signal

from homeserver.media.decoding.limits import Limits
from homeserver.media.decoding.system_calls import forbid_system_calls

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PAGE_BYTES = resource.getpagesize()


def confine(limits: Limits, libc: ctypes.CDLL) -> bool:
    """Give up everything but the open files; whether system calls are filtered as well."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    set_limit(resource.RLIMIT_AS, address_space() + limits.memory_bytes)
    set_limit(resource.RLIMIT_CPU, limits.seconds)
    set_limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_NOFILE, 0)
    return forbid_system_calls(libc)


def set_limit(kind: int, value: int) -> None:
    """Lower a limit for good; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (lowered, lowered))


def address_space() -> int:
    """How many bytes the process has mapped."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(statm, 200).split()[0]) * PAGE_BYTES
    finally:
        os.close(statm)
