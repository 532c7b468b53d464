"""A bad link between two network namespaces: slow, lossy, and cut at will.

Where the kernel has netem, it is a pair of virtual Ethernet devices with netem on both. Elsewhere
it is a pair of TUN devices, and this process carries the packets between them: late, and some not
at all. Either way the TCP that has to put up with it is the kernel's: it repeats what is lost and
takes its time over it, as over a real link.
"""

import asyncio
import fcntl
import os
import random
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.federation.links.namespaces import Namespace, NoNamespaces, Traffic, sent_by

DEVICE = "link0"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
NETWORK = "10.77.0.0/30"

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
MAX_PACKET_BYTES = 65_536


@dataclass(frozen=True)
class Quality:
    """How bad a link is, the same in both directions."""

    delay_ms: int
    loss_percent: float


GOOD = Quality(delay_ms=0, loss_percent=0)
GONE = Quality(delay_ms=0, loss_percent=100)


class Link:
    """Two networks, each with one device that leads to the other."""

    def __init__(self, ends: tuple[Namespace, Namespace]) -> None:
        self.ends = ends

    def become(self, quality: Quality) -> None:
        """Be as good or bad as this from now on."""
        raise NotImplementedError

    def traffic(self) -> Traffic:
        """What both ends have sent, whether it arrived or not."""
        first, second = self.ends
        return sent_by(first, DEVICE) + sent_by(second, DEVICE)


class NetemLink(Link):
    """Virtual Ethernet, spoilt by the kernel."""

    def __init__(self, ends: tuple[Namespace, Namespace]) -> None:
        """Raises `NoNamespaces` where the kernel has no netem."""
        super().__init__(ends)
        first, second = ends
        first.run("ip", "link", "add", DEVICE, "type", "veth",
                  "peer", "name", DEVICE, "netns", second.path)  # fmt: skip
        self.become(GOOD)
        bring_up(ends)

    def become(self, quality: Quality) -> None:
        """Raises `NoNamespaces`."""
        for end in self.ends:
            end.run("tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", "limit", "10000",
                    "delay", f"{quality.delay_ms}ms",
                    "loss", f"{quality.loss_percent}%")  # fmt: skip


class CarriedLink(Link):
    """Packets that this process carries, while its event loop runs."""

    def __init__(self, ends: tuple[Namespace, Namespace]) -> None:
        """Raises `NoNamespaces` where no TUN device can be made."""
        super().__init__(ends)
        self._quality = GOOD
        self._random = random.Random(4)
        self._devices = [open_tun(end) for end in ends]
        bring_up(ends)
        loop = asyncio.get_running_loop()
        for device, other in (self._devices, self._devices[::-1]):
            loop.add_reader(device, self._carry, device, other)

    def become(self, quality: Quality) -> None:
        self._quality = quality

    def close(self) -> None:
        """Let the devices go; what is under way is lost."""
        self.become(GONE)
        for device in self._devices:
            asyncio.get_running_loop().remove_reader(device)
            os.close(device)
        self._devices.clear()

    def _carry(self, device: int, other: int) -> None:
        packet = os.read(device, MAX_PACKET_BYTES)
        if self._random.random() * 100 >= self._quality.loss_percent:
            delay_s = self._quality.delay_ms / 1000
            asyncio.get_running_loop().call_later(delay_s, self._arrive, other, packet)

    def _arrive(self, device: int, packet: bytes) -> None:
        if self._quality != GONE:
            os.write(device, packet)


def open_tun(namespace: Namespace) -> int:
    """A new TUN device in a network. Raises `NoNamespaces`."""
    try:
        with namespace.entered():
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH14x", DEVICE.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(device, TUNSETIFF, request)
    except OSError as error:
        raise NoNamespaces(f"/dev/net/tun: {error.strerror}") from error
    return device


def bring_up(ends: tuple[Namespace, Namespace]) -> None:
    for end, ours, theirs in zip(ends, ADDRESSES, ADDRESSES[::-1], strict=True):
        end.run("ip", "address", "add", ours, "peer", theirs, "dev", DEVICE)
        end.run("ip", "link", "set", DEVICE, "up")


@contextmanager
def link_between_namespaces() -> Iterator[Link]:
    """A link that is good at first. Raises `NoNamespaces` where there can be none."""
    with ExitStack() as stack:
        ends = Namespace(), Namespace()
        for end in ends:
            stack.callback(end.close)
        if has_netem(ends[0]):
            yield NetemLink(ends)
        else:
            carried = CarriedLink(ends)
            stack.callback(carried.close)
            yield carried


def has_netem(namespace: Namespace) -> bool:
    """Whether the kernel can spoil a link by itself."""
    try:
        namespace.run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms")
        namespace.run("tc", "qdisc", "del", "dev", "lo", "root")
    except NoNamespaces:
        return False
    return True
