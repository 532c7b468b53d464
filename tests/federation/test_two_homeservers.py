"""Two whole servers, each over a database of its own, speak over TLS on loopback."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.sides import Side, room_of, side, until
from tests.homeserver.conftest import Client
from tests.patience import LONG_POLL_MS


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
    (await bob.put(f"{room}/typing/{bob.user_id}", {"typing": True, "timeout": LONG_POLL_MS})).ok()
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


@pytest.mark.parametrize("wanted", ["{}", '{"types": ["m.room.message"]}'])
async def test_who_joins_pages_back_to_what_was_before(pair: Pair, wanted: str) -> None:
    room_id = await pair.alice.create_room(preset="public_chat")
    texts = [f"old news {n}" for n in range(130)]
    for text in texts:
        await pair.alice.send(room_id, text)
    (await pair.bob.post(f"v3/join/{room_id}", server_name=pair.here.name)).ok()
    seen: list[Any] = []
    query: dict[str, Any] = {}
    while True:
        path = f"v3/rooms/{room_id}/messages"
        page = (await pair.bob.get(path, dir="b", limit=50, filter=wanted, **query)).ok()
        seen += page["chunk"]
        if "end" not in page:
            break
        query = {"from": page["end"]}
    shown = [event["content"]["body"] for event in seen if event["type"] == "m.room.message"]
    assert shown == texts[::-1]
