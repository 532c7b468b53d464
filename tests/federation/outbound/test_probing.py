"""Looking for servers that are gone."""

import asyncio
import socket
import sys

import pytest

from federation.outbound.address_guard import AddressGuard
from federation.outbound.backoff import MISSING, Backoff
from federation.outbound.connections import UNACKNOWLEDGED_MS, open_socket
from federation.outbound.errors import BackingOff, Refused, Unreachable
from federation.outbound.probing import AT_ONCE, Probing
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import RetrySchedule
from tests.federation.world import (
    NOW_TS,
    Kept,
    Network,
    fixed_random,
    free_address,
)
from tests.patience import PATIENCE_S
from tests.ports import free_port

FAR = ServerName("far.test")
OTHER = ServerName("other.test")
AN_HOUR = RetrySchedule(first_ms=3_600_000, longest_ms=3_600_000)
SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 24 * 60 * MINUTE_MS


class Sky:
    """Time, the health of servers, and who can be connected to."""

    def __init__(self) -> None:
        self.now_ts = NOW_TS
        self.backoff = Backoff(Kept(), lambda: self.now_ts, fixed_random, AN_HOUR)
        self.probing = Probing(
            self.backoff, self.can_connect, lambda: self.now_ts, lambda: 0.0, pace_s=0.001
        )
        self.there: set[ServerName] = set()
        self.tried: list[ServerName] = []
        self.returned: list[ServerName] = []
        self.backoff.listen(self.returned.append)

    async def can_connect(self, name: ServerName) -> bool:
        self.tried.append(name)
        return name in self.there

    async def lose(self, name: ServerName) -> None:
        gone = Unreachable(name, "it is gone")
        await self.backoff.failed(name, gone, self.now_ts)

    async def tries_in(self, duration_ms: int, *, others_answer: bool = False) -> int:
        """How often anybody is looked for in this time."""
        before, end_ts = len(self.tried), self.now_ts + duration_ms
        while self.now_ts < end_ts:
            self.now_ts += SECOND_MS
            if others_answer:
                await self.backoff.succeeded(OTHER)
            for name in self.probing.whose_turn():
                await self.probing.probe(name)
        return len(self.tried) - before


async def test_while_nobody_answers_a_server_is_looked_for_every_few_seconds() -> None:
    sky = Sky()
    await sky.lose(FAR)
    sky.now_ts += 3 * DAY_MS
    assert 11 <= await sky.tries_in(MINUTE_MS) <= 12


async def test_while_others_answer_it_is_looked_for_less_and_less() -> None:
    sky = Sky()
    await sky.lose(FAR)
    assert await sky.tries_in(MINUTE_MS, others_answer=True) >= 10
    sky.now_ts += 10 * MINUTE_MS
    assert 3 <= await sky.tries_in(MINUTE_MS, others_answer=True) <= 6
    sky.now_ts += 600 * MINUTE_MS
    assert await sky.tries_in(MINUTE_MS, others_answer=True) == 1
    sky.now_ts += DAY_MS
    assert await sky.tries_in(10 * MINUTE_MS, others_answer=True) == 0
    assert not sky.backoff.missing


async def test_a_find_ends_the_waiting() -> None:
    sky = Sky()
    await sky.lose(FAR)
    with pytest.raises(BackingOff):
        await sky.backoff.check(FAR)
    sky.there.add(FAR)
    assert await sky.tries_in(6 * SECOND_MS) == 1
    await sky.backoff.check(FAR)
    assert sky.returned == [FAR]
    await sky.backoff.succeeded(FAR)
    assert await sky.tries_in(MINUTE_MS) == 0


async def test_what_listens_and_does_not_answer_is_tried_ever_more_rarely() -> None:
    sky = Sky()
    sky.there.add(FAR)
    await sky.lose(FAR)
    for _ in range(60):
        found = len(sky.returned)
        await sky.tries_in(MINUTE_MS)
        if len(sky.returned) > found:
            await sky.lose(FAR)
    assert len(sky.tried) <= 10


async def test_a_server_that_answers_with_its_own_failure_is_not_looked_for() -> None:
    sky = Sky()
    await sky.lose(FAR)
    await sky.backoff.failed(FAR, Refused(FAR, 502, {}), sky.now_ts)
    assert await sky.tries_in(MINUTE_MS) == 0


async def test_many_missing_servers_take_turns() -> None:
    sky = Sky()
    names = [ServerName(f"{n}.test") for n in range(MISSING + 5)]
    for name in names:
        await sky.lose(name)
    assert len(sky.backoff.missing) == MISSING
    sky.probing.whose_turn()
    sky.now_ts += MINUTE_MS
    first = sky.probing.whose_turn()
    assert len(first) == AT_ONCE
    assert sky.probing.whose_turn() == []
    for name in first:
        await sky.probing.probe(name)
    second = sky.probing.whose_turn()
    assert len(second) == AT_ONCE
    assert not {*first} & {*second}


async def test_a_port_that_opens_is_noticed(net: Network) -> None:
    us = net.us()
    us.backoff._schedule = AN_HOUR
    address, port = free_address(), free_port()
    name = ServerName(f"{address}:{port}")
    with pytest.raises(Unreachable):
        await us.get(name)
    with pytest.raises(BackingOff):
        await us.get(name)
    returned = asyncio.Event()
    us.backoff.listen(lambda _: returned.set())
    probing = Probing(us.backoff, us.client.can_connect, net.clock, lambda: 0.0, pace_s=0.001)
    running = asyncio.create_task(probing.run())
    try:
        peer = await net.peer(port=port, address=address)
        peer.answers["/_matrix/federation/v1/version"] = {"server": {}}
        clock_runs = asyncio.create_task(run_clock(net))
        async with asyncio.timeout(PATIENCE_S):
            await returned.wait()
        clock_runs.cancel()
        assert await us.get(name) == {"server": {}}
        assert not us.backoff.missing
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def run_clock(net: Network) -> None:
    """Time goes on, faster."""
    while True:
        await asyncio.sleep(0.001)
        net.now_ts += 100


async def test_nobody_is_looked_for_at_an_address_that_is_denied(net: Network) -> None:
    peer = await net.peer(port=0)
    name = ServerName(f"{peer.address}:{peer.port}")
    assert await net.us().client.can_connect(name)
    assert not await net.us(deny=["127.0.0.0/8"]).client.can_connect(name)


@pytest.mark.skipif(sys.platform != "linux", reason="an option of Linux")
def test_a_connection_whose_packets_nobody_acknowledges_is_given_up() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
    with open_socket(AddressGuard(()), info) as made:
        timeout_ms = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout_ms == UNACKNOWLEDGED_MS
