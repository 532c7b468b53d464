"""Two servers at the ends of a bad link: 600 ms each way, one packet in twenty lost; then no link.

Ten minutes without a link are compressed in time: after its first failure a destination is left
alone for at least five minutes, as it is after some minutes of failures with the ordinary
schedule. So within the time of this test nothing but the looking for missing servers can find out
that the link is back.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.links.far_server import FarServer, far_server
from tests.federation.links.link import (
    ADDRESSES,
    GONE,
    Link,
    Quality,
    link_between_namespaces,
)
from tests.federation.links.namespaces import NoNamespaces
from tests.homeserver.conftest import Client
from tests.patience import PATIENCE_S

BAD = Quality(delay_ms=600, loss_percent=5)
TEN_MINUTES = "retry_first_s = 600"
MESSAGES = 12
"""Of each side in each of the phases."""
MAX_ITEM_BYTES = 2_000
"""What a message, a change of state or a message to a device may cost, everything included."""

WHOLE = '{"room": {"timeline": {"limit": 500}, "state": {"lazy_load_members": false}}}'


@dataclass
class Reader:
    """A user who is told of what happens, and keeps it in the order of telling."""

    server: FarServer
    client: Client
    room_id: str = ""
    since: str | None = None
    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Messages by sender."""
    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Names that were given to the room, by sender."""
    to_device: list[str] = field(default_factory=list)

    async def read_until(self, sender: str, texts: list[str], to_device: list[str]) -> None:
        """Read until all this is there, or more."""
        async with asyncio.timeout(PATIENCE_S):
            while (
                len(self.texts[sender]) < len(texts)
                or len(self.names[sender]) < len(texts)
                or len(self.to_device) < len(to_device)
            ):
                await self._read()
        assert self.texts[sender] == texts
        assert self.names[sender] == [f"name for {text}" for text in texts]
        assert self.to_device == to_device

    async def _read(self) -> None:
        answer = await self.client.sync(self.since, timeout_ms=5_000, filter=WHOLE)
        self.since = answer["next_batch"]
        for event in answer.get("to_device", {}).get("events", ()):
            self.to_device.append(event["content"]["text"])
        room = answer.get("rooms", {}).get("join", {}).get(self.room_id, {})
        assert not room.get("timeline", {}).get("limited", False)
        for event in room.get("timeline", {}).get("events", ()):
            if event["type"] == "m.room.message":
                self.texts[event["sender"]].append(event["content"]["body"])
            elif event["type"] == "org.example.name":
                self.names[event["sender"]].append(event["content"]["name"])

    async def begin(self, room_id: str) -> None:
        """Read from now on."""
        self.room_id = room_id
        self.since = (await self.client.sync())["next_batch"]

    async def state(self) -> Mapping[tuple[str, str], str]:
        """The current state of the room: event IDs by type and state key."""
        events = (await self.client.get(f"v3/rooms/{self.room_id}/state")).ok()
        return {(one["type"], one["state_key"]): one["event_id"] for one in events}

    async def has_given_up_for_now(self) -> None:
        """Wait until the other side is left alone."""
        database = await asyncpg.connect(self.server.database_url)
        try:
            async with asyncio.timeout(PATIENCE_S):
                query = "SELECT 1 FROM destinations WHERE failures > 0"
                while await database.fetchval(query) is None:
                    await asyncio.sleep(0.1)
        finally:
            await database.close()


@dataclass
class Ends:
    """Alice and Bob, in a room together."""

    link: Link
    alice: Reader
    bob: Reader
    said: int = 0
    texts: list[str] = field(default_factory=list)
    """What each of them has said; both say the same."""

    async def talk(self, count: int = MESSAGES) -> None:
        """Both write messages, change the state, and send to devices, at the same time."""
        new = [f"text {n}" for n in range(self.said, self.said + count)]
        self.said += count
        self.texts += new
        await asyncio.gather(
            speak(self.alice, self.bob, new),
            speak(self.bob, self.alice, new),
        )

    async def arrived(self) -> None:
        """Everything has come to the other side: once, in order, and nothing else."""
        await asyncio.gather(
            self.alice.read_until(self.bob.client.user_id, self.texts, self.texts),
            self.bob.read_until(self.alice.client.user_id, self.texts, self.texts),
        )

    async def agree(self) -> None:
        """Both sides come to the same state."""
        ours, theirs = await self.alice.state(), await self.bob.state()
        assert ours == theirs


async def speak(who: Reader, to: Reader, texts: list[str]) -> None:
    client = who.client
    for text in texts:
        await client.send(who.room_id, text)
        name = {"name": f"name for {text}"}
        await client.set_state(who.room_id, "org.example.name", name)
        message = {"messages": {to.client.user_id: {to.client.device_id: {"text": text}}}}
        path = f"v3/sendToDevice/org.example.direct/{quote(text)}"
        (await client.put(path, message)).ok()


@pytest_asyncio.fixture
async def ends(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        try:
            link = stack.enter_context(link_between_namespaces())
        except NoNamespaces as error:
            pytest.skip(f"no networks can be made here: {error}")
        servers = [
            await stack.enter_async_context(
                far_server(end, address, cluster, authority, tmp_path / address, TEN_MINUTES)
            )
            for end, address in zip(link.ends, ADDRESSES, strict=True)
        ]
        await asyncio.gather(*(server.ready() for server in servers))
        here, there = servers
        alice, bob = Reader(here, await here.user("alice")), Reader(there, await there.user("bob"))
        power = {"events": {"org.example.name": 0}}
        room_id = await alice.client.create_room(
            preset="public_chat", power_level_content_override=power
        )
        (await bob.client.post(f"v3/join/{room_id}", server_name=here.name)).ok()
        await alice.begin(room_id)
        await bob.begin(room_id)
        yield Ends(link, alice, bob)


@pytest.mark.slow
async def test_nothing_is_lost_on_a_link_that_is_bad_and_then_gone(ends: Ends) -> None:
    ends.link.become(BAD)
    before = ends.link.traffic()
    await ends.talk()
    await ends.arrived()
    await ends.agree()
    assert (ends.link.traffic() - before).bytes < 6 * MESSAGES * MAX_ITEM_BYTES

    ends.link.become(GONE)
    await ends.talk()
    await asyncio.gather(ends.alice.has_given_up_for_now(), ends.bob.has_given_up_for_now())
    await ends.talk()

    ends.link.become(BAD)
    await ends.arrived()
    await ends.agree()
