"""Hours without a line, and two hundred servers that wait: its return is no stampede."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from aiohttp import web

from federation.outbound.connections import MAX_KEPT_OPEN
from federation.outbound.probing import Probing
from federation.outbound.sender import Sender, SenderSettings
from federation.protocol.identifiers import ServerName
from federation.protocol.retry_schedule import RetrySchedule
from tests.federation.outbound.test_sender import Kept, hand_over
from tests.federation.world import US, Network, Peer, drop, json_response
from tests.patience import PATIENCE_S

SERVERS = 200
DAY_MS = 24 * 3_600_000
LONG = RetrySchedule(first_ms=DAY_MS, longest_ms=DAY_MS)


class Far:
    """All the other servers at one place: who asks, how many at once, how many connections."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.is_away = True
        self.taken: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.full = asyncio.Event()
        """Set when so many requests have come at once as may come while nobody has answered."""
        self.expected = SenderSettings().probes
        peer.fallback = self.answer

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.is_away:
            return await drop(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        if self.under_way >= self.expected:
            self.full.set()
        await self.full.wait()
        self.under_way -= 1
        self.taken[request.headers["Host"]] += 1
        return json_response(200, {"pdus": {}})

    def open_connections(self) -> int:
        transports = {seen.connection for seen in self.peer.seen}
        return sum(
            isinstance(one, asyncio.Transport) and not one.is_closing() for one in transports
        )


async def until(net: Network, condition: Callable[[], bool]) -> None:
    """Wait for what the event loop brings, while the clock runs a hundred times as fast."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
            net.now_ts += 1_000


@pytest.mark.slow
async def test_a_link_that_comes_back_is_not_flooded(net: Network) -> None:
    peer = await net.peer("*.many.test", port=0)
    far = Far(peer)
    names = [ServerName(f"s{number}.many.test:{peer.port}") for number in range(SERVERS)]
    for name in names:
        net.hosts.table[name.partition(":")[0]] = (peer.address,)
    us, kept = net.us(), Kept()
    us.backoff._schedule = LONG
    us.connections._keepalive_s = 3_600
    settings = SenderSettings(timeout_s=PATIENCE_S, keep_every_s=0.05, retries=LONG)
    sender = Sender(us.client, kept, us.backoff, US, net.clock, lambda: 0.5, settings)
    async with sender.running(0):
        for position, name in enumerate(names, 1):
            hand_over(sender, kept, name, position)
        await until(net, lambda: len(us.backoff.missing) == SERVERS)
        peer.seen.clear()
        far.is_away = False
        probing = Probing(us.backoff, us.client.can_connect, net.clock, lambda: 0.5, pace_s=0.01)
        looking = asyncio.create_task(probing.run())
        await until(net, far.full.is_set)
        await until(net, lambda: len(far.taken) == SERVERS)
        looking.cancel()
        assert far.most_under_way <= settings.probes + settings.in_flight
        asked = Counter((seen.host, seen.target) for seen in peer.seen)
        assert set(asked.values()) == {1}
        await until(net, lambda: far.open_connections() <= MAX_KEPT_OPEN)
