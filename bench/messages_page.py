"""What a page of 100 events of /messages costs: processor time of server and PostgreSQL.

Run as `python -m bench.messages_page`. The history is that of a joined member, read backwards
from the end of a room with 50,000 events and a few threads and edits.
"""

import time
from pathlib import Path

import asyncpg

from bench.private_world import run_in_private_world
from bench.processor_time import postgres_seconds, process_seconds
from homeserver.rooms.history import History, MessagesRequest
from homeserver.rooms.history_token import parse_point
from tests.homeserver.rooms.world import ALICE, BOB, World

ROOMS = 4
COPIES = 50_000
PAGES = 300
LIMIT = 100

COPY_MESSAGES = """
    INSERT INTO events (
           event_nid, stream_position, depth, origin_server_ts, snapshot_nid, room_nid, sender_nid,
           type_nid, prev_nids, auth_nids, event_id, json)
    SELECT nextval('event_nids'), base.position + n, e.depth + n, e.origin_server_ts + n,
           e.snapshot_nid, e.room_nid, e.sender_nid, e.type_nid, e.prev_nids, e.auth_nids,
           e.event_id || n, e.json
      FROM events AS e, generate_series(1, $2) AS n, (SELECT position FROM stream) AS base
     WHERE e.event_id = $1
"""
MOVE_STREAM = "UPDATE stream SET position = position + $1"


async def fill_room(world: World, admin: asyncpg.Connection) -> str:
    """A room with a long history."""
    room_id = await world.create(members=[BOB])
    last = await world.say(room_id, BOB, "A message of usual length, neither long nor short.")
    await admin.execute(COPY_MESSAGES, last, COPIES)
    await admin.execute(MOVE_STREAM, COPIES)
    depth = await admin.fetchval("SELECT max(depth) FROM events")
    await admin.execute("UPDATE room_heads SET max_depth = $1", depth)
    world.live.drop_id(room_id)
    for n in range(120):
        message = await world.say(room_id, BOB if n % 3 else ALICE, f"Message number {n}")
        if n % 10 == 0:
            await world.relate(room_id, BOB, "m.thread", message)
        if n % 25 == 0:
            await world.relate(room_id, BOB, "m.replace", message)
    return room_id


async def measure(history: History, world: World, room_id: str, directory: Path) -> None:
    """Read pages and print the cost of one."""
    viewer = await world.viewer(BOB)
    first = MessagesRequest(backwards=True, limit=LIMIT)
    page = await history.messages(viewer, room_id, first)
    older = MessagesRequest(backwards=True, limit=LIMIT, start=parse_point(page.end or ""))
    for name, request in (("first page", first), ("older page", older)):
        for _ in range(20):
            await history.messages(viewer, room_id, request)
        database_before, own_before = postgres_seconds(directory), process_seconds()
        began = time.perf_counter()
        for _ in range(PAGES):
            await history.messages(viewer, room_id, request)
        wall = time.perf_counter() - began
        own, database = (
            process_seconds() - own_before,
            postgres_seconds(directory) - database_before,
        )
        print(
            f"{name}: server {own / PAGES * 1000:.2f} ms, PostgreSQL "
            f"{database / PAGES * 1000:.2f} ms, elapsed {wall / PAGES * 1000:.2f} ms"
        )


async def build_and_measure(world: World, admin: asyncpg.Connection, directory: Path) -> None:
    """Build the rooms and measure."""
    rooms = [await fill_room(world, admin) for _ in range(ROOMS)]
    await admin.execute("ANALYZE")
    history = History(world.db, world.names, world.clients, world.ignored)
    await measure(history, world, rooms[0], directory)


if __name__ == "__main__":
    run_in_private_world(build_and_measure)
