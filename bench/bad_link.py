"""What a bad link between two servers carries: bytes for a message, for silence, for an absence.

`python -m bench.bad_link`, as root on Linux. The link is that of
tests/federation/links: 600 ms each way, one packet in twenty lost. Bytes are those of IP packets
that both ends send, those of TCP and TLS and those that are lost included.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from bench.private_database import private_directory
from storage.cluster import Cluster, ClusterSettings
from tests.conftest import prepare_template
from tests.federation.certificates import make_authority
from tests.federation.links.far_server import far_server
from tests.federation.links.link import (
    ADDRESSES,
    GONE,
    GOOD,
    Link,
    Quality,
    link_between_namespaces,
)
from tests.homeserver.conftest import Client

BAD = Quality(delay_ms=600, loss_percent=5)
LOSSLESS = Quality(delay_ms=600, loss_percent=0)
IDLE_S = 35
"""Longer than connections are kept without use."""
TEN_MINUTES = "retry_first_s = 600"


class Pair:
    """Alice at the one end and Bob at the other, in a room together."""

    def __init__(self, link: Link, alice: Client, bob: Client, room_id: str) -> None:
        self.link = link
        self._alice = alice
        self._bob = bob
        self._room_id = room_id
        self._since: str | None = None
        self._sent = 0

    async def deliver(self, count: int = 1) -> None:
        """Send messages, and wait until they have arrived."""
        for _ in range(count):
            self._sent += 1
            await self._alice.send(self._room_id, f"This is message number {self._sent}.")
        await self.arrive()

    async def send(self, count: int) -> None:
        """Send messages that cannot arrive yet."""
        for _ in range(count):
            self._sent += 1
            await self._alice.send(self._room_id, f"This is message number {self._sent}.")

    async def arrive(self) -> None:
        """Wait for the last message."""
        wanted = f"This is message number {self._sent}."
        while True:
            answer = await self._bob.sync(self._since, timeout_ms=30_000)
            self._since = answer["next_batch"]
            room = answer.get("rooms", {}).get("join", {}).get(self._room_id, {})
            events = room.get("timeline", {}).get("events", ())
            if any(event["content"].get("body") == wanted for event in events):
                return


async def measure(pair: Pair, what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do something, and say what it took."""
    await asyncio.sleep(3)
    before, began_s = pair.link.traffic(), time.monotonic()
    await work()
    took_s = time.monotonic() - began_s
    await asyncio.sleep(3)
    sent = pair.link.traffic() - before
    print(f"{what:52} {sent.bytes:7} bytes {sent.packets:4} packets {took_s:6.1f} s", flush=True)


async def measure_all(pair: Pair) -> None:
    """Everything that docs/performance.md tells."""
    for name, quality in (("lossless", LOSSLESS), ("5 % lost", BAD)):
        pair.link.become(quality)
        # TCP repeats things until it has learnt how long the way is now.
        await ten_times(pair)
        await measure(pair, f"{name}: 10 messages, one after the other", lambda: ten_times(pair))
        await measure(pair, f"{name}: 100 messages at once", lambda: pair.deliver(100))
        await measure(pair, f"{name}: nothing, until connections close", lambda: sleep(IDLE_S))
        await measure(pair, f"{name}: a message over a new connection", pair.deliver)
        await measure(pair, f"{name}: nothing for a minute", lambda: sleep(60 + IDLE_S))
    pair.link.become(GONE)
    await pair.send(100)
    await sleep(40)
    await measure(pair, "no link: a minute of looking for the other", lambda: sleep(60))
    pair.link.become(BAD)
    await measure(pair, "link is back: until 100 messages are there", pair.arrive)


async def ten_times(pair: Pair) -> None:
    for _ in range(10):
        await pair.deliver()


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def run(directory: Path) -> None:
    """Make the link and the servers, and measure."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(directory, ClusterSettings(max_connections=100, durable=False))
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        await prepare_template(cluster.dsn, directory)
        authority = make_authority(directory)
        link = stack.enter_context(link_between_namespaces())
        link.become(GOOD)
        servers = [
            await stack.enter_async_context(
                far_server(end, address, cluster, authority, directory / address, TEN_MINUTES)
            )
            for end, address in zip(link.ends, ADDRESSES, strict=True)
        ]
        await asyncio.gather(*(server.ready() for server in servers))
        alice, bob = await servers[0].user("alice"), await servers[1].user("bob")
        room_id = await alice.create_room(preset="public_chat")
        (await bob.post(f"v3/join/{room_id}", server_name=servers[0].name)).ok()
        await measure_all(Pair(link, alice, bob, room_id))


def main() -> None:
    with private_directory() as directory:
        asyncio.run(run(directory))


if __name__ == "__main__":
    main()
