"""Network namespaces of the kernel: networks of their own for some processes and sockets."""

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"
LIBC = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(Exception):
    """This machine does not let us make networks."""


class Namespace:
    """A network that only those see who are started in it; it goes with the last of them."""

    def __init__(self) -> None:
        """Raises `NoNamespaces`."""
        with home() as own:
            if LIBC.unshare(CLONE_NEWNET) != 0:
                raise NoNamespaces(f"unshare: {os.strerror(ctypes.get_errno())}")
            self._fd = os.open(OWN, os.O_RDONLY)
            enter(own)
        try:
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is made inside (processes, sockets, devices) belongs to this network."""
        with home() as own:
            enter(self._fd)
            try:
                yield
            finally:
                enter(own)

    def run(self, *command: str) -> str:
        """Run a program; what it prints. Raises `NoNamespaces` if it is missing or fails."""
        with self.entered():
            return run(*command)

    @property
    def path(self) -> str:
        """The network as a file, for programs to open while this process holds it."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def open_socket(self, address_info: Any) -> socket.socket:
        """A socket for an entry of `getaddrinfo`, as aiohttp's `socket_factory`."""
        family, kind, protocol, _, _ = address_info
        with self.entered():
            return socket.socket(family, kind, protocol)


@dataclass(frozen=True)
class Traffic:
    """What a device has sent, headers of IP included."""

    packets: int
    bytes: int

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.packets - other.packets, self.bytes - other.bytes)

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.packets + other.packets, self.bytes + other.bytes)


def sent_by(namespace: Namespace, device: str) -> Traffic:
    """What the device has sent since it is there."""
    shown = json.loads(namespace.run("ip", "-json", "-statistics", "link", "show", device))
    sent = shown[0]["stats64"]["tx"]
    return Traffic(sent["packets"], sent["bytes"])


@contextmanager
def home() -> Iterator[int]:
    """The network of this thread, as an open file."""
    own = os.open(OWN, os.O_RDONLY)
    try:
        yield own
    finally:
        os.close(own)


def enter(fd: int) -> None:
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise NoNamespaces(f"setns: {os.strerror(ctypes.get_errno())}")


def run(*command: str) -> str:
    """Run a program; what it prints. Raises `NoNamespaces` if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoNamespaces(f"{command[0]} is not installed (package iproute2)") from error
    if done.returncode != 0:
        raise NoNamespaces(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
