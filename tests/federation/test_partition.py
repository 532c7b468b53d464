"""Two servers that are cut off from each other, both alive and at odds, and then reunited."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.relay import Relay, relay
from tests.federation.sides import Side, room_of, side, until
from tests.homeserver.conftest import Client
from tests.ports import free_port

VERSIONS = ("1", "6", "10", "11", "12")
SPOKEN = 10
"""Messages of each speaker while the servers are apart."""


@dataclass
class Server:
    """One of the two, with its people."""

    side: Side
    wire: Relay
    people: dict[str, Client] = field(default_factory=dict)

    async def people_named(self, *names: str) -> None:
        for name in names:
            self.people[name] = await self.side.user(name)

    def id_of(self, name: str) -> str:
        return self.people[name].user_id


@dataclass
class World:
    """Ann, Amy and Al at the one server, Bob, Ben and Bea at the other; a room of each version."""

    here: Server
    there: Server
    rooms: dict[str, str] = field(default_factory=dict)

    def cut(self, *, one_way: bool) -> None:
        """Let nobody hear the other; or only there what is said here not be heard."""
        self.there.wire.cut()
        if not one_way:
            self.here.wire.cut()

    def mend(self) -> None:
        self.here.wire.mend()
        self.there.wire.mend()


@asynccontextmanager
async def server(
    cluster: Cluster, authority: Authority, directory: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Server]:
    inner_port = free_port()
    async with side(
        cluster, authority, directory, session, inner_port=inner_port, retry_first_s=1
    ) as made:
        address, _, port = made.name.rpartition(":")
        async with relay(address, int(port), address, inner_port) as wire:
            yield Server(made, wire)


@pytest_asyncio.fixture
async def world(
    cluster: Cluster, authority: Authority, tmp_path: Path, session: aiohttp.ClientSession
) -> AsyncIterator[World]:
    async with (
        server(cluster, authority, tmp_path / "here", session) as here,
        server(cluster, authority, tmp_path / "there", session) as there,
    ):
        await here.people_named("ann", "amy", "al")
        await there.people_named("bob", "ben", "bea")
        made = World(here, there)
        for version in VERSIONS:
            made.rooms[version] = await room_of_all(made, version)
        yield made


async def room_of_all(world: World, version: str) -> str:
    """A room that all are in: Ann made it, Bob is as mighty, Amy and Ben help."""
    here, there = world.here, world.there
    ann = here.people["ann"]
    levels = {there.id_of("bob"): 100, here.id_of("amy"): 50, there.id_of("ben"): 50}
    if version != "12":
        levels[ann.user_id] = 100
    room_id = await ann.create_room(
        preset="public_chat",
        room_version=version,
        power_level_content_override={"users": levels},
    )
    for one in (here.people["amy"], here.people["al"], *there.people.values()):
        (await one.post(f"v3/join/{quote(room_id)}", server_name=here.side.name)).ok()
    return room_id


async def fall_out(world: World, room_id: str, *, one_way: bool) -> None:
    """Both sides act against each other without knowing of it, and go on talking."""
    if one_way:
        # Here it is heard at once what is done there, and no more allowed what that forbids.
        await act_here(world, room_id)
        await asyncio.gather(act_there(world, room_id), talk_here(world, room_id))
    else:
        await asyncio.gather(act_here(world, room_id), act_there(world, room_id))
        await talk_here(world, room_id)


async def act_here(world: World, room_id: str) -> None:
    here, there = world.here, world.there
    ann, amy = here.people["ann"], here.people["amy"]
    await ann.set_state(room_id, "m.room.name", {"name": "Ann's"})
    await amy.set_state(room_id, "m.room.topic", {"topic": "as Amy has it"})
    await set_levels(ann, room_id, {there.id_of("ben"): 0, here.id_of("al"): 60})
    await ban(amy, room_id, there.id_of("bea"))
    await here.people["al"].send(room_id, "al does not know that he is banned")


async def talk_here(world: World, room_id: str) -> None:
    for n in range(SPOKEN):
        await world.here.people["ann"].send(room_id, f"ann {n}")


async def act_there(world: World, room_id: str) -> None:
    here, there = world.here, world.there
    bob, ben = there.people["bob"], there.people["ben"]
    await bob.set_state(room_id, "m.room.name", {"name": "Bob's"})
    await ban(ben, room_id, here.id_of("al"))
    await set_levels(bob, room_id, {here.id_of("amy"): 0, there.id_of("ben"): 70})
    await ben.set_state(room_id, "m.room.topic", {"topic": "as Ben has it"})
    await there.people["bea"].send(room_id, "bea does not know that she is banned")
    for n in range(SPOKEN):
        await bob.send(room_id, f"bob {n}")


async def set_levels(client: Client, room_id: str, changes: dict[str, int]) -> None:
    path = f"v3/rooms/{quote(room_id)}/state/m.room.power_levels/"
    levels = (await client.get(path)).ok()
    await client.set_state(
        room_id, "m.room.power_levels", {**levels, "users": {**levels["users"], **changes}}
    )


async def ban(client: Client, room_id: str, user_id: str) -> None:
    (await client.post(f"v3/rooms/{quote(room_id)}/ban", {"user_id": user_id})).ok()


async def state_of(client: Client, room_id: str) -> dict[tuple[str, str], str]:
    """The current state as the client sees it: event IDs."""
    events = (await client.get(f"v3/rooms/{quote(room_id)}/state")).ok()
    return {(one["type"], one["state_key"]): one["event_id"] for one in events}


async def events_of(side: Side, room_id: str) -> set[str]:
    """All events that a server has of a room, those included that it shows to nobody."""
    database = await asyncpg.connect(side.settings.database.url)
    try:
        rows = await database.fetch(
            "SELECT event_id FROM events JOIN rooms USING (room_nid) WHERE room_id = $1", room_id
        )
    finally:
        await database.close()
    return {row["event_id"] for row in rows}


async def texts_of(client: Client, room_id: str, last: set[str]) -> list[str]:
    """The messages that a client is shown, up to the time when it has seen the last ones."""
    texts: list[str] = []

    def find(answer: Any) -> bool:
        events = room_of(answer, room_id).get("timeline", {}).get("events", ())
        texts.extend(one["content"]["body"] for one in events if one["type"] == "m.room.message")
        return last <= {*texts}

    await until(client, find)
    return texts


def spoken(texts: list[str], speaker: str) -> list[str]:
    return [text for text in texts if text.startswith(f"{speaker} ")]


@pytest.mark.parametrize("one_way", [False, True])
async def test_servers_that_were_apart_agree_again(world: World, one_way: bool) -> None:
    ann, bob = world.here.people["ann"], world.there.people["bob"]
    world.cut(one_way=one_way)
    rooms = world.rooms.values()
    await asyncio.gather(*(fall_out(world, room_id, one_way=one_way) for room_id in rooms))
    for room_id in rooms if not one_way else ():
        assert await state_of(ann, room_id) != await state_of(bob, room_id)
    world.mend()
    for version, room_id in world.rooms.items():
        await ann.send(room_id, "ann is back")
        await bob.send(room_id, "bob is back")
        last = {"ann is back", "bob is back"}
        seen_by_ann = await texts_of(ann, room_id, last)
        seen_by_bob = await texts_of(bob, room_id, last)
        for speaker in ("ann", "bob"):
            said = [*(f"{speaker} {n}" for n in range(SPOKEN)), f"{speaker} is back"]
            assert spoken(seen_by_ann, speaker) == said, version
            assert spoken(seen_by_bob, speaker) == said, version
        ours, theirs = await state_of(ann, room_id), await state_of(bob, room_id)
        assert ours == theirs, version
        assert await events_of(world.here.side, room_id) == await events_of(
            world.there.side, room_id
        ), version
    assert world.there.wire.swallowed_bytes
