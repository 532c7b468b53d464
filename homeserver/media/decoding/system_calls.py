"""The filter of system calls behind which untrusted bytes are decoded.

What computing on open files takes is let through: memory, reading, writing, clocks, and threads of
the own process. Everything else fails with EPERM: files, sockets, other processes and programs.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst; the numbers are those of the kernel's
unistd.h for each architecture.
"""

import ctypes
import os
import struct

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

LOAD_WORD = 0x20
JUMP_EQUAL = 0x15
JUMP_SET = 0x45
RETURN = 0x06
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EPERM = 1
ENOSYS = 38

OFFSET_NUMBER = 0
OFFSET_ARCHITECTURE = 4
OFFSET_FIRST_ARGUMENT = 16
CLONE_THREAD = 0x00010000
CLONE3 = 435

# One line a purpose: reading and writing; memory; threads and locks; signals; time; the end.
X86_64 = (0xC000003E, 56, (
    0, 1, 19, 20, 17, 18, 8, 3, 5, 262, 332, 77,
    9, 11, 25, 10, 28, 12,
    202, 273, 334, 218, 324, 24, 204, 186, 39,
    13, 14, 15, 131, 219,
    228, 229, 230, 35, 96, 201, 98, 99, 63, 318, 7, 271,
    60, 231,
))  # fmt: skip
AARCH64 = (0xC00000B7, 220, (
    63, 64, 65, 66, 67, 68, 62, 57, 80, 79, 291, 46,
    222, 215, 216, 226, 233, 214,
    98, 99, 293, 96, 283, 124, 123, 178, 172,
    134, 135, 139, 132, 128,
    113, 114, 115, 101, 169, 165, 179, 160, 278, 73,
    93, 94,
))  # fmt: skip
ARM = (0x40000028, 120, (
    3, 4, 145, 146, 180, 181, 19, 140, 6, 108, 197, 327, 397, 93, 194,
    192, 91, 163, 125, 220, 45,
    240, 422, 338, 398, 256, 389, 158, 242, 224, 20, 983045,
    174, 175, 173, 119, 186, 0,
    263, 403, 264, 265, 162, 78, 77, 116, 122, 384, 168, 336,
    1, 248,
))  # fmt: skip
"""Number of the architecture, of the call `clone`, and of the calls that are let through."""


class Program(ctypes.Structure):
    """A filter as the kernel takes it (`struct sock_fprog`)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_system_calls(libc: ctypes.CDLL) -> bool:
    """Put the filter in force for this process for good; whether the kernel knows such filters.

    New privileges have to be given up before.
    """
    instructions = build_filter()
    if instructions is None:
        return False
    program = Program(len(instructions) // 8, instructions)
    done: int = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    return done == 0


def build_filter() -> bytes | None:
    """The filter's instructions for this machine; None for an architecture that is not known."""
    table = table_of_machine()
    if table is None:
        return None
    architecture, clone, allowed = table
    checks = [
        instruction(LOAD_WORD, OFFSET_ARCHITECTURE),
        instruction(JUMP_EQUAL, architecture, if_true=1),
        instruction(RETURN, ERRNO | EPERM),
        instruction(LOAD_WORD, OFFSET_NUMBER),
    ]
    for number in allowed:
        checks += [instruction(JUMP_EQUAL, number, if_false=1), instruction(RETURN, ALLOW)]
    return b"".join(
        [
            *checks,
            # The C library tries `clone` where `clone3`, whose flags no filter can read, is absent.
            instruction(JUMP_EQUAL, CLONE3, if_false=1),
            instruction(RETURN, ERRNO | ENOSYS),
            instruction(JUMP_EQUAL, clone, if_false=3),
            instruction(LOAD_WORD, OFFSET_FIRST_ARGUMENT),
            instruction(JUMP_SET, CLONE_THREAD, if_false=1),
            instruction(RETURN, ALLOW),
            instruction(RETURN, ERRNO | EPERM),
        ]
    )


def table_of_machine() -> tuple[int, int, tuple[int, ...]] | None:
    """The numbers for this process; one of 32 bits may run on a machine of 64."""
    machine = os.uname().machine
    is_64_bit = struct.calcsize("P") == 8
    if machine == "x86_64":
        return X86_64 if is_64_bit else None
    if machine == "aarch64" and is_64_bit:
        return AARCH64
    if machine.startswith(("arm", "aarch64")):
        return ARM
    return None


def instruction(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; jumps count the instructions that they skip (`struct sock_filter`)."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
