"""Two whole servers, each over a database of its own, speak over TLS on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from homeserver.app import running
from homeserver.config.settings import Listener, Settings
from storage.cluster import Cluster
from tests.conftest import TEMPLATE, fresh_database
from tests.federation.certificates import Authority
from tests.federation.world import free_address, free_port
from tests.homeserver.conftest import Client, Homes, settings_for_tests

WITHIN_S = 30


@dataclass
class Side:
    """One of the servers, which may be stopped and started."""

    settings: Settings
    session: aiohttp.ClientSession
    homes: Homes | None = None
    _stack: AsyncExitStack | None = None

    @property
    def name(self) -> str:
        return self.settings.server.name

    async def start(self) -> None:
        self._stack = AsyncExitStack()
        server = await self._stack.enter_async_context(running(self.settings))
        self.homes = Homes(server, self.session)

    async def stop(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None

    async def user(self, localpart: str) -> Client:
        assert self.homes is not None
        return await self.homes.user(localpart)

    def again(self, client: Client) -> Client:
        """The same session after a restart."""
        assert self.homes is not None
        other = self.homes.nobody()
        other.token, other.user_id, other.device_id = (
            client.token,
            client.user_id,
            client.device_id,
        )
        return other


@asynccontextmanager
async def side(
    cluster: Cluster, authority: Authority, directory: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Side]:
    address, port = free_address(), free_port()
    certificate, key = authority.issue(address)
    directory.mkdir()
    async for url in fresh_database(cluster, TEMPLATE):
        settings = settings_for_tests(url, directory)
        made = Side(
            replace(
                settings,
                server=replace(settings.server, name=f"{address}:{port}"),
                listen=(
                    *settings.listen,
                    Listener(
                        address=address,
                        port=port,
                        tls_certificate=certificate,
                        tls_key=key,
                        serves=("federation",),
                    ),
                ),
                federation=replace(settings.federation, enabled=True, trusted_key_servers=()),
                outgoing=replace(
                    settings.outgoing,
                    allow_ip_ranges=("127.0.0.0/8",),
                    extra_ca_files=(authority.certificate,),
                ),
            ),
            session,
        )
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


@dataclass
class Pair:
    """Alice at the one server and Bob at the other, in a room together."""

    here: Side
    there: Side
    alice: Client
    bob: Client
    room_id: str


@pytest_asyncio.fixture
async def pair(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Pair]:
    async with (
        aiohttp.ClientSession() as session,
        side(cluster, authority, tmp_path / "here", session) as here,
        side(cluster, authority, tmp_path / "there", session) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        path = f"v3/join/{room_id}"
        (await bob.post(path, server_name=here.name)).ok()
        yield Pair(here, there, alice, bob, room_id)


async def until(client: Client, find: Callable[[Any], Any]) -> Any:
    """What `find` finds in the client's syncs."""
    since: str | None = None
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await client.sync(since, timeout_ms=5_000, filter=WHOLE)
            found = find(answer)
            if found:
                return found
            since = answer["next_batch"]


WHOLE = '{"room": {"timeline": {"limit": 500}}}'


def room_of(answer: Any, room_id: str) -> Any:
    return answer.get("rooms", {}).get("join", {}).get(room_id, {})


async def read_texts(client: Client, room_id: str, count: int) -> list[str]:
    """The first messages that the client is shown."""
    texts: list[str] = []

    def find(answer: Any) -> bool:
        events = room_of(answer, room_id).get("timeline", {}).get("events", ())
        texts.extend(one["content"]["body"] for one in events if one["type"] == "m.room.message")
        return len(texts) >= count

    await until(client, find)
    return texts


async def test_messages_go_both_ways_in_order(pair: Pair) -> None:
    texts = [f"message {n}" for n in range(60)]
    for text in texts:
        await pair.alice.send(pair.room_id, text)
    assert await read_texts(pair.bob, pair.room_id, 60) == texts
    for text in texts:
        await pair.bob.send(pair.room_id, f"re {text}")
    assert await read_texts(pair.alice, pair.room_id, 120) == texts + [f"re {t}" for t in texts]


async def test_typing_receipts_and_presence_cross_over(pair: Pair) -> None:
    event_id = await pair.alice.send(pair.room_id, "read me")
    assert await read_texts(pair.bob, pair.room_id, 1) == ["read me"]
    room, bob = f"v3/rooms/{pair.room_id}", pair.bob
    (await bob.post(f"{room}/receipt/m.read/{event_id}")).ok()
    (await bob.put(f"{room}/typing/{bob.user_id}", {"typing": True, "timeout": 30_000})).ok()
    status = {"presence": "online", "status_msg": "here"}
    (await bob.put(f"v3/presence/{bob.user_id}/status", status)).ok()
    seen: dict[str, Any] = {}

    def find(answer: Any) -> bool:
        for event in room_of(answer, pair.room_id).get("ephemeral", {}).get("events", ()):
            seen[event["type"]] = event["content"]
        for event in answer.get("presence", {}).get("events", ()):
            seen[event["sender"]] = event["content"].get("status_msg")
        return seen.keys() >= {"m.typing", "m.receipt", bob.user_id}

    await until(pair.alice, find)
    assert seen["m.typing"] == {"user_ids": [bob.user_id]}
    assert bob.user_id in seen["m.receipt"][event_id]["m.read"]
    assert seen[bob.user_id] == "here"


@pytest.mark.slow
async def test_a_server_that_was_away_catches_up_by_itself(pair: Pair) -> None:
    await pair.alice.send(pair.room_id, "before")
    assert await read_texts(pair.bob, pair.room_id, 1) == ["before"]
    await pair.there.stop()
    texts = [f"while away {n}" for n in range(80)]
    for text in texts:
        await pair.alice.send(pair.room_id, text)
    await pair.here.stop()
    await pair.here.start()
    await pair.there.start()
    bob = pair.there.again(pair.bob)
    assert await read_texts(bob, pair.room_id, 81) == ["before", *texts]


async def test_who_joins_by_way_of_one_server_is_known_to_the_others(
    pair: Pair, cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    async with side(cluster, authority, tmp_path / "third", pair.here.session) as third:
        carol = await third.user("carol")
        (await carol.post(f"v3/join/{pair.room_id}", server_name=pair.here.name)).ok()

        def joined(answer: Any) -> bool:
            room = room_of(answer, pair.room_id)
            events = [*room.get("timeline", {}).get("events", ())]
            return carol.user_id in [one.get("state_key") for one in events]

        await until(pair.bob, joined)
        await carol.send(pair.room_id, "hello all")
        for client in (pair.alice, pair.bob):
            assert await read_texts(client, pair.room_id, 1) == ["hello all"]
        await pair.bob.send(pair.room_id, "hello carol")
        assert await read_texts(carol, pair.room_id, 2) == ["hello all", "hello carol"]
