"""A server that sends, over a real database, and other servers that take or refuse."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from federation.outbound.backoff import Backoff
from federation.outbound.errors import FederationError, Refused, Unreachable
from federation.outbound.ports import RetryState
from federation.outbound.sender import Sender, SenderSettings
from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import ServerName, UserId
from federation.protocol.retry_schedule import RetrySchedule
from federation.protocol.signatures import signing_key_from_seed
from homeserver.clock import system_clock
from homeserver.config.sections.federation import Federation
from homeserver.duty import Duty
from homeserver.encryption.device_lists import DeviceLists
from homeserver.other_servers.backlog import KeptBacklog
from homeserver.other_servers.distribution import Distribution
from homeserver.other_servers.introductions import Introductions
from homeserver.other_servers.room_servers import RoomServers
from homeserver.other_servers.sending import Sending
from homeserver.other_servers.sticky_greetings import StickyGreetings
from homeserver.rooms.append import Append
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.relations import Bundles
from homeserver.rooms.taking import Door
from homeserver.rooms.typing import Typing
from storage.auth_edges import AuthEdges
from storage.committer import CHANNEL, Committer
from storage.database import Pool, open_pool
from storage.duties import SENDING
from storage.names import Names
from storage.nids import Nids
from storage.outgoing import missed_rooms
from storage.state_layers import StateLayers
from storage.stream import Stream
from tests.homeserver.rooms.world import ALICE, SERVER, World, build_send
from tests.patience import PATIENCE_S

FAR = ServerName("far.example")
ODD = ServerName("odd.example:8448")
ZOE = UserId("@zoe:far.example")
OTTO = UserId("@otto:odd.example:8448")

QUICK = RetrySchedule(first_ms=20, longest_ms=50)
SLOW = RetrySchedule(first_ms=3_600_000, longest_ms=3_600_000)

Verdict = Callable[[ServerName, dict[str, Any]], FederationError | None]


@dataclass
class Far:
    """All other servers: what they were sent, and how they take it."""

    down: set[ServerName] = field(default_factory=set)
    verdict: Verdict | None = None
    attempts: list[tuple[ServerName, str, dict[str, Any]]] = field(default_factory=list)
    """Destination, transaction ID and transaction, also where it failed."""
    taken: list[tuple[ServerName, dict[str, Any]]] = field(default_factory=list)
    backoff: Backoff | None = None
    gate: asyncio.Event | None = None
    """While it is there and not set, no transaction is answered."""
    under_way: int = 0
    most_under_way: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def request(
        self, destination: ServerName, method: str, path: str, *, body: bytes, **_: Any
    ) -> Any:
        assert method == "PUT"
        transaction = decode(body)
        assert transaction["origin"] == SERVER
        assert len(transaction["pdus"]) <= 50
        assert len(transaction.get("edus", [])) <= 100
        self.attempts.append((destination, path.rpartition("/")[2], transaction))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self._tell()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await self._judge(destination, transaction)
        finally:
            self.under_way -= 1
        self.taken.append((destination, transaction))
        await self._tell()
        return {"pdus": {}}

    async def _judge(self, destination: ServerName, transaction: dict[str, Any]) -> None:
        assert self.backoff is not None
        began_ts = system_clock()
        error: FederationError | None = None
        if destination in self.down:
            error = Unreachable(destination, "it is down")
        elif self.verdict is not None:
            error = self.verdict(destination, transaction)
        if error is None or error.reachable:
            await self.backoff.succeeded(destination)
        else:
            await self.backoff.failed(destination, error, began_ts)
        if error is not None:
            raise error

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, looked at whenever a transaction comes or is answered."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(is_so)

    async def wait_for_texts(self, destination: ServerName, texts: Iterable[str]) -> None:
        """Wait until a server has exactly these messages, each once, in this order."""
        wanted = list(texts)
        await self.until(lambda: len(self.texts(destination)) >= len(wanted))
        assert self.texts(destination) == wanted

    def pdus(self, destination: ServerName) -> list[dict[str, Any]]:
        """The events that a server has taken, in order, each once."""
        found: dict[bytes, dict[str, Any]] = {}
        for name, transaction in self.taken:
            if name == destination:
                for pdu in transaction["pdus"]:
                    found.setdefault(pdu["hashes"]["sha256"], pdu)
        return list(found.values())

    def texts(self, destination: ServerName) -> list[str]:
        """The messages that a server has taken."""
        pdus = self.pdus(destination)
        return [pdu["content"]["body"] for pdu in pdus if pdu["type"] == "m.room.message"]

    def edus(self, destination: ServerName, edu_type: str) -> list[Any]:
        """The contents of the EDUs of a type that a server has taken."""
        return [
            edu["content"]
            for name, transaction in self.taken
            if name == destination
            for edu in transaction.get("edus", ())
            if edu["edu_type"] == edu_type
        ]


def refusing(text: str, status: int = 400) -> Verdict:
    """Refuses every transaction that has a message of this text in it."""

    def verdict(destination: ServerName, transaction: dict[str, Any]) -> FederationError | None:
        bodies = [pdu["content"].get("body") for pdu in transaction["pdus"]]
        return Refused(destination, status, {}) if text in bodies else None

    return verdict


class Health:
    """The health of servers, as the database keeps it over restarts."""

    def __init__(self) -> None:
        self.states: dict[ServerName, RetryState] = {}

    async def find_retry_state(self, destination: ServerName) -> RetryState | None:
        return self.states.get(destination)

    async def set_retry_state(self, destination: ServerName, state: RetryState) -> None:
        self.states[destination] = state


class SendingWorld:
    """A server; `sending` runs what sends. After a crash nothing is kept of its last moments."""

    def __init__(
        self, world: World, stream: Stream, far: Far, servers: RoomServers, typing: Typing
    ) -> None:
        self.world = world
        self.stream = stream
        self.far = far
        self.servers = servers
        self.typing = typing
        self.health = Health()
        self.schedule = QUICK
        self.settings = SenderSettings(keep_every_s=0.02, gather_s=0.01, retries=QUICK)
        self.sender: Sender | None = None
        self.distribution: Distribution | None = None

    @asynccontextmanager
    async def sending(
        self, *, crash: bool = False, number: int | None = None
    ) -> AsyncIterator[Sender]:
        """Send for as long as the block runs."""
        world = self.world
        number = world.committer.number if number is None else number
        backoff = Backoff(self.health, system_clock, lambda: 0.0, self.schedule)
        self.far.backoff = backoff
        backlog = Forgetful(world.db, self.servers, SERVER, number, system_clock)
        sender = Sender(
            self.far, backlog, backoff, SERVER, system_clock, random.random, self.settings
        )
        lists = DeviceLists(world.db, world.committer, system_clock, Federation(), self.servers)
        distribution = Distribution(
            world.db, world.names, self.stream, self.servers, self.typing, sender,
            Introductions(world.db, world.names, self.servers, lists),
            StickyGreetings(world.db, self.servers, sender, SERVER, system_clock, pause_s=0.01),
            SERVER, system_clock,
        )  # fmt: skip
        self.sender, self.distribution = sender, distribution
        job = asyncio.create_task(
            Sending(Duty(world.db, SENDING, number), sender, distribution).run()
        )

        async def has_begun() -> bool:
            return distribution._is_running

        try:
            await eventually(has_begun)
            yield sender
            backlog.is_dead = crash
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            self.sender = self.distribution = None

    async def room(self, *members: UserId) -> str:
        """A room of Alice's with these members."""
        return await self.world.create(members=members)

    async def until_marked(self, destination: ServerName) -> None:
        """Wait until it is kept that a server lacks events."""

        async def is_marked() -> bool:
            return bool(await missed_rooms(self.world.db, destination))

        await eventually(is_marked)

    async def say(self, room_id: str, *texts: str) -> None:
        """Messages of a user of ours."""
        for text in texts:
            await self.world.say(room_id, ALICE, text)


class Forgetful(KeptBacklog):
    """A backlog that loses everything once its process is dead."""

    is_dead = False

    async def keep(self, progress: Any) -> bool:
        return True if self.is_dead else await super().keep(progress)


@asynccontextmanager
async def open_sending_world(database_url: str) -> AsyncIterator[SendingWorld]:
    """A server and the others; closed when the block is left."""
    db: Pool = await open_pool(database_url, 4)
    names = Names(db, 1_000_000)
    stream = Stream(db, names, SERVER, 1_000_000)
    committer = Committer(database_url, stream.published, {CHANNEL: stream.notified})
    await committer.open()
    await stream.open()
    running = asyncio.create_task(committer.run())
    layers = StateLayers(db, 1_000_000)
    live = LiveRooms(db, names, layers, 1_000_000)
    nids, edges = Nids(db), AuthEdges(db, 1_000_000)
    append = Append(db, names, nids, live, layers, committer, system_clock, SERVER)
    key = signing_key_from_seed("1", b"1" * 32)
    sending = build_send(Door(db, names, nids, live, layers, edges, append), SERVER, key)
    ignored = IgnoredUsers(db, names, 100_000)
    clients = ClientEvents(db, names, Bundles(db, names, ignored), system_clock)
    world = World(db, names, committer, live, layers, append, sending, ignored, clients, key)
    servers = RoomServers(db, names, SERVER, 1_000_000)
    made = SendingWorld(world, stream, Far(), servers, Typing())

    async def heard(changes: Any, own: bool) -> None:
        if made.distribution is not None:
            await made.distribution.heard(changes, own)
        else:
            servers.heard(changes)

    def typing_changed(room_nid: int, user_id: str, is_typing: bool) -> None:
        if made.distribution is not None:
            made.distribution.typing_changed(room_nid, user_id, is_typing)

    stream.listen(heard)
    made.typing.listen(typing_changed)
    try:
        yield made
    finally:
        committer.close()
        await running
        await db.close()


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so in the database."""
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():
            await asyncio.sleep(0.01)
