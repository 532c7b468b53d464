"""The sender over real connections: a transaction on the wire, and the moods of a peer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from federation.outbound.queue_ports import MissedPdus, OutgoingPdu, Progress, QueuedEdu
from federation.outbound.sender import Sender, SenderSettings
from federation.protocol.canonical_json import decode, encode
from federation.protocol.edu import Typist
from federation.protocol.identifiers import RoomId, ServerName, UserId
from federation.protocol.retry_schedule import RetrySchedule
from federation.protocol.signatures import verify_bytes
from federation.protocol.x_matrix import parse_authorization, signed_bytes
from tests.federation.world import NOW_TS, US, Network, Peer, drop, json_response
from tests.patience import PATIENCE_S

QUICK = RetrySchedule(first_ms=5, longest_ms=10)
ROOM = 7


@dataclass
class Kept:
    """A backlog in memory: every event concerns everybody."""

    pdus: list[OutgoingPdu] = field(default_factory=list)
    marks: dict[ServerName, dict[int, int]] = field(default_factory=dict)

    async def waiting_destinations(self) -> Sequence[ServerName]:
        return list(self.marks)

    async def missed_rooms(self, destination: ServerName) -> Mapping[int, int]:
        return self.marks.get(destination, {})

    async def missed_pdus(
        self, destination: ServerName, rooms: Mapping[int, int], upto: int, limit: int
    ) -> MissedPdus:
        due = [p for p in self.pdus if p.room in rooms and rooms[p.room] <= p.position <= upto]
        is_whole = len(due) <= limit
        return MissedPdus(due[:limit], {ROOM: upto if is_whole else due[limit - 1].position})

    async def queued_edus(
        self, destination: ServerName, after: int, limit: int
    ) -> Sequence[QueuedEdu]:
        return ()

    async def keep(self, progress: Progress) -> bool:
        return True


class Inbox:
    """A peer's end: the transactions that it took."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.taken: list[dict[str, Any]] = []
        self.moods: list[Any] = []
        self.news = asyncio.Event()
        peer.answers = Anywhere(self.answer)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.moods:
            mood = self.moods.pop(0)
            if callable(mood):
                result: web.StreamResponse = await mood(request)
                return result
            return json_response(*mood)
        self.taken.append(decode(self.peer.last.body))
        self.news.set()
        return json_response(200, {"pdus": {"$x": {"error": "we do not want it"}}})

    async def wait_for_pdus(self, count: int) -> list[int]:
        """The numbers in the events that came, once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(numbers := self.numbers()) < count:
                self.news.clear()
                await self.news.wait()
        return numbers

    def numbers(self) -> list[int]:
        return [pdu["n"] for transaction in self.taken for pdu in transaction["pdus"]]


class Anywhere(dict[str, Any]):
    """The same answer for every path."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def get(self, path: str, default: Any = None) -> Any:
        return self._answer


@asynccontextmanager
async def sending(net: Network, kept: Kept) -> AsyncIterator[Sender]:
    """A sender over the real client."""
    us = net.us()
    settings = SenderSettings(timeout_s=PATIENCE_S, keep_every_s=0.01, retries=QUICK)
    us.backoff._schedule = QUICK
    sender = Sender(us.client, kept, us.backoff, US, net.clock, lambda: 0.5, settings)
    async with sender.running(0):
        yield sender


async def inbox(net: Network) -> tuple[Inbox, ServerName]:
    peer = await net.peer("a.test", port=0, hosts=["a.test"])
    return Inbox(peer), ServerName(f"a.test:{peer.port}")


def hand_over(sender: Sender, kept: Kept, to: ServerName, *positions: int) -> None:
    for position in positions:
        pdu = OutgoingPdu(position, ROOM, encode({"n": position, "text": "é"}))
        kept.pdus.append(pdu)
        sender.distribute([(pdu, [to])], position)


async def test_a_transaction_is_signed_and_whole(net: Network) -> None:
    box, name = await inbox(net)
    kept = Kept()
    async with sending(net, kept) as sender:
        typist = Typist(RoomId("!r:us.test"), UserId("@a:us.test"), True)
        sender.send_typing([name], typist)
        hand_over(sender, kept, name, 1, 2)
        assert await box.wait_for_pdus(2) == [1, 2]
    (transaction,) = box.taken
    assert transaction == {
        "origin": US,
        "origin_server_ts": NOW_TS,
        "pdus": [{"n": 1, "text": "é"}, {"n": 2, "text": "é"}],
        "edus": [
            {
                "edu_type": "m.typing",
                "content": {"room_id": "!r:us.test", "user_id": "@a:us.test", "typing": True},
            }
        ],
    }
    seen = box.peer.last
    assert seen.method == "PUT"
    assert seen.target.startswith("/_matrix/federation/v1/send/")
    signed = parse_authorization(seen.headers["Authorization"])
    content = signed_bytes("PUT", seen.target, US, name, seen.body)
    verify_bytes(content, signed.signature, net.key.verify_key)


async def test_whatever_mood_a_peer_is_in_it_gets_everything_in_order(net: Network) -> None:
    box, name = await inbox(net)
    kept = Kept()
    box.moods = [
        drop,
        (500, {}),
        (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1}),
        (403, {"errcode": "M_FORBIDDEN"}),
        (502, "a proxy's page"),
        (404, {"errcode": "M_UNRECOGNIZED"}),
    ]
    async with sending(net, kept) as sender:
        hand_over(sender, kept, name, *range(1, 71))
        clock_runs = asyncio.create_task(run_clock(net))
        assert await box.wait_for_pdus(70) == list(range(1, 71))
        clock_runs.cancel()


async def run_clock(net: Network) -> None:
    """Time goes on."""
    while True:
        await asyncio.sleep(0.005)
        net.now_ts += 5


async def test_a_peer_that_answers_garbage_is_not_taken_at_its_word(net: Network) -> None:
    box, name = await inbox(net)
    kept = Kept()

    async def garbage(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="<html>all is well</html>")

    box.moods = [garbage]
    async with sending(net, kept) as sender:
        hand_over(sender, kept, name, 1)
        assert await box.wait_for_pdus(1) == [1]
    first, second = (seen.target for seen in box.peer.seen)
    assert first == second
