"""Without a line to the world: our own users are served, and others hear of it afterwards.

The server's only way out leads to packets that nobody carries, and the name server that it is told
to ask is there and says nothing: what waits for either of them waits for ten seconds and longer.
What needs neither must not even ask. What happens in rooms with members elsewhere has to be sent,
but nobody waits for it: so much is done here that waiting would take several times what is allowed.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.links.far_server import FarServer, far_server
from tests.federation.links.link import (
    ADDRESSES,
    DEVICE,
    GONE,
    GOOD,
    Link,
    link_between_namespaces,
)
from tests.federation.links.namespaces import NoNamespaces, sent_by
from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS, PATIENCE_S

TALKS = 10
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cf500f0003030101a7f2ad5b0000000049454e44ae426082"
)
IPV6 = f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6"
NO_RETRIES = "retry_first_s = 600"


@dataclass
class Island:
    """A server whose line can be cut, and one at the other end of it."""

    link: Link
    here: FarServer
    there: FarServer
    name_server: socket.socket

    def asked(self) -> int:
        """How many questions of names have come since the last time."""
        count = 0
        while True:
            try:
                self.name_server.recv(4096)
            except BlockingIOError:
                return count
            count += 1

    def sent(self) -> int:
        """How many packets this side has sent to the world."""
        return sent_by(self.link.ends[0], DEVICE).packets


@pytest_asyncio.fixture
async def island(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Island]:
    async with AsyncExitStack() as stack:
        try:
            link = stack.enter_context(link_between_namespaces())
        except NoNamespaces as error:
            pytest.skip(f"no networks can be made here: {error}")
        # The kernel would look for routers of IPv6, and packets are counted here.
        link.ends[0].run("sh", "-c", f"test ! -e {IPV6} || echo 1 > {IPV6}")
        link.ends[0].run("ip", "route", "add", "default", "dev", DEVICE)
        info = (socket.AF_INET, socket.SOCK_DGRAM, 0, "", None)
        name_server = stack.enter_context(link.ends[0].open_socket(info))
        name_server.bind(("127.0.0.1", 53))
        name_server.setblocking(False)
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        here, there = [
            await stack.enter_async_context(
                far_server(
                    end, address, cluster, authority, tmp_path / address, NO_RETRIES, resolv_conf
                )
            )
            for end, address in zip(link.ends, ADDRESSES, strict=True)
        ]
        await asyncio.gather(here.ready(), there.ready())
        yield Island(link, here, there, name_server)


async def log_in(server: FarServer, localpart: str) -> Client:
    client = server.nobody()
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": localpart},
        "password": "a password that is long",
    }
    Homes.log_in(client, (await client.post("v3/login", body)).ok())
    return client


async def live_on(server: FarServer, name: str) -> None:
    """What people do among themselves."""
    alice, carol = await server.user(f"alice-{name}"), await server.user(f"carol-{name}")
    alice = await log_in(server, f"alice-{name}")
    since = (await carol.sync())["next_batch"]
    room_id = await alice.create_room(
        preset="private_chat", invite=[carol.user_id], room_alias_name=f"home-{name}"
    )
    await alice.create_room(preset="public_chat", visibility="public", name=f"Public {name}")
    await carol.join(f"#home-{name}:{server.name}")
    for number in range(TALKS):
        await alice.send(room_id, f"message {number}")
    heard = await carol.sync(since, timeout_ms=LONG_POLL_MS)
    events = heard["rooms"]["join"][room_id]["timeline"]["events"]
    assert events[-1]["content"]["body"] == f"message {TALKS - 1}"
    uri = (await alice.request("POST", "/_matrix/media/v3/upload?filename=dot.png", raw=PNG)).ok()[
        "content_uri"
    ]
    assert uri.startswith(f"mxc://{server.name}/")
    (await alice.put(f"v3/profile/{alice.user_id}/displayname", {"displayname": name})).ok()
    keys: dict[str, Any] = {"device_keys": {carol.user_id: [], alice.user_id: []}}
    (await alice.post("v3/keys/query", keys)).ok()
    (await alice.post("v3/user_directory/search", {"search_term": "carol"})).ok()
    (await alice.get("v3/publicRooms")).ok()
    (await carol.put(f"v3/rooms/{room_id}/typing/{carol.user_id}", {"typing": True})).ok()
    (await carol.post("v3/logout")).ok()


async def talk(client: Client, to: Client, room_id: str, start: int) -> list[str]:
    """Messages, a state, messages to devices and receipts where members are elsewhere."""
    texts = [f"text {number}" for number in range(start, start + TALKS)]
    for text in texts:
        event_id = await client.send(room_id, text)
        await client.set_state(room_id, "m.room.topic", {"topic": text})
        message: Any = {"messages": {to.user_id: {to.device_id: {"text": text}}}}
        await client.put(f"v3/sendToDevice/org.example.direct/{quote(text)}", message)
        (await client.post(f"v3/rooms/{room_id}/receipt/m.read/{quote(event_id)}")).ok()
        await client.put(f"v3/rooms/{room_id}/typing/{client.user_id}", {"typing": True})
        await client.sync()
    return texts


async def read_until(client: Client, room_id: str, since: str, texts: list[str]) -> None:
    """Read until all these messages have come, in this order and once."""
    read: list[str] = []
    whole = '{"room": {"timeline": {"limit": 500}}}'
    async with asyncio.timeout(PATIENCE_S):
        while len(read) < len(texts):
            answer = await client.sync(since, timeout_ms=LONG_POLL_MS, filter=whole)
            since = answer["next_batch"]
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            read += [
                event["content"]["body"]
                for event in room.get("timeline", {}).get("events", ())
                if event["type"] == "m.room.message"
            ]
    assert read == texts


@pytest.mark.slow
async def test_what_concerns_nobody_else_asks_nobody_else(island: Island) -> None:
    island.link.become(GONE)
    island.asked()
    sent = island.sent()
    async with asyncio.timeout(PATIENCE_S):
        await live_on(island.here, "first")
        await island.here.restart()
        await live_on(island.here, "second")
    assert island.asked() == 0
    assert island.sent() == sent


@pytest.mark.slow
async def test_nobody_waits_for_those_who_cannot_be_reached_and_they_hear_of_it_all_later(
    island: Island,
) -> None:
    alice, bob = await island.here.user("alice"), await island.there.user("bob")
    power = {"events": {"m.room.topic": 0}}
    room_id = await alice.create_room(preset="public_chat", power_level_content_override=power)
    (await bob.post(f"v3/join/{room_id}", server_name=island.here.name)).ok()
    since = (await bob.sync())["next_batch"]
    island.link.become(GONE)
    async with asyncio.timeout(PATIENCE_S):
        texts = await talk(alice, bob, room_id, 0)
        carol = await island.here.user("carol")
        await carol.join(room_id)
        texts += await talk(carol, bob, room_id, TALKS)
        await island.here.restart()
        await live_on(island.here, "offline")
        texts += await talk(alice, bob, room_id, 2 * TALKS)
    island.link.become(GOOD)
    await read_until(bob, room_id, since, texts)
