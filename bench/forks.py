"""What an event of a fork costs, by the size of the room: processor time of server and PostgreSQL.

Run as `python -m bench.forks`. In each round a user of another server has eight state events after
the same event (two change the power levels, three the topic, three a membership), then a message
after all of them. Signatures are not checked here; rooms are of version 11.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from bench.private_world import run_in_private_world
from bench.processor_time import postgres_seconds, process_seconds
from federation.protocol.auth_events import auth_event_places
from federation.protocol.build_event import build_event
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import get_room_version
from federation.protocol.signatures import signing_key_from_seed
from homeserver.rooms.arrivals import Arrivals
from tests.homeserver.rooms.world import ALICE, World

SIZES = (10, 1_000, 20_000)
ROUNDS = 20
VERSION = get_room_version("11")
KEY = signing_key_from_seed("2", b"2" * 32)
USER, VICTIM = UserId("@user:far.example"), UserId("@victim:far.example")


class FarServer:
    """Makes the events of another server's user, after the state that the room has here."""

    def __init__(self, world: World, room_id: str) -> None:
        self._world = world
        self._room_id = RoomId(room_id)
        self._ts = 20_000_000

    async def build(
        self,
        prev: Sequence[EventId],
        depth: int,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
    ) -> Pdu:
        """An event whose auth events are those of the room's current state."""
        places = auth_event_places(event_type, state_key, USER, content, VERSION)
        room = await self._world.live.get(self._room_id)
        await self._world.live.load_entries(room, places)
        self._ts += 1
        return build_event(
            room_version=VERSION,
            room_id=self._room_id,
            sender=USER,
            event_type=event_type,
            content=content,
            depth=depth,
            origin_server_ts=self._ts,
            prev_events=list(prev),
            auth_events=[entry.pdu.event_id for p in places if (entry := room.state[p])],
            server_name=ServerName("far.example"),
            key=KEY,
            state_key=state_key,
        )

    async def fork(self, number: int) -> list[Pdu]:
        """Eight events in conflict, after what the room ends in."""
        room = await self._world.live.get(self._room_id)
        prev, depth = list(room.extremities.values()), room.max_depth + 1
        levels = {"users": {ALICE: 100, USER: 100}}
        contents: list[tuple[str, Mapping[str, Any], str]] = [
            *(
                ("m.room.power_levels", {**levels, "events": {f"n{number}": level}}, "")
                for level in (50, 60)
            ),
            *(("m.room.topic", {"topic": f"{number} {n}"}, "") for n in range(3)),
            *(
                ("m.room.member", {"membership": word, "reason": f"{number} {n}"}, VICTIM)
                for n, word in enumerate(("ban", "leave", "ban"))
            ),
        ]
        return [
            await self.build(prev, depth, kind, content, key) for kind, content, key in contents
        ]

    async def merge(self) -> list[Pdu]:
        """A message after all ends of the room."""
        room = await self._world.live.get(self._room_id)
        prev = list(room.extremities.values())
        content = {"body": "together"}
        return [await self.build(prev, room.max_depth + 1, "m.room.message", content)]


async def measure(world: World, size: int, directory: Path) -> None:
    """Make a room of that many members, fork it and print what an event costs."""
    room_id = await world.create()
    for number in range(size):
        await world.member(room_id, UserId(f"@member{number}:hub.example"), "join")
    far, arrivals = FarServer(world, room_id), Arrivals(world.door)
    room = await world.live.get(room_id)
    joined = await far.build(
        list(room.extremities.values()),
        room.max_depth + 1,
        "m.room.member",
        {"membership": "join"},
        USER,
    )
    await arrivals.enter(room_id, [joined])
    await world.state(room_id, ALICE, "m.room.power_levels", {"users": {ALICE: 100, USER: 100}})
    own = wall = 0.0
    database_before = postgres_seconds(directory)
    for number in range(ROUNDS):
        for part in range(2):
            events = await (far.merge() if part else far.fork(number))
            own_before, began = process_seconds(), time.monotonic()
            await arrivals.enter(room_id, events)
            own += process_seconds() - own_before
            wall += time.monotonic() - began
    database = postgres_seconds(directory) - database_before
    count = ROUNDS * 9
    print(
        f"{size:6} members: server {own / count * 1000:.2f} ms, PostgreSQL "
        f"{database / count * 1000:.2f} ms, elapsed {wall / count * 1000:.2f} ms an event"
    )


async def measure_all(world: World, _admin: asyncpg.Connection, directory: Path) -> None:
    """Measure rooms of all sizes."""
    for size in SIZES:
        await measure(world, size, directory)


if __name__ == "__main__":
    run_in_private_world(measure_all)
