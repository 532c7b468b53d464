"""What a message costs with bridges and without: processor time of server and PostgreSQL.

Run as `python -m bench.bridged_messages`. The messages come over HTTP, eight senders at once; the
sender's own work is in the figures, and that of the bridges is not: they are another process.
"""

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import uvloop
from aiohttp import ClientSession, web

from bench.private_database import private_database, private_directory
from bench.processor_time import postgres_seconds, process_seconds
from homeserver.app import running
from homeserver.config.sections.appservices import AppServices
from tests.homeserver.conftest import Client, Homes, settings_for_tests

SENDERS = 8
MESSAGES = 2_000
BRIDGES = 10
CASES = (
    ("no bridge", 0, 0, True),
    ("a bridge elsewhere", 1, 0, True),
    ("a bridge in the room", 1, 1, True),
    ("ten bridges in the room", BRIDGES, BRIDGES, True),
    ("a bridge in the room that is away", 1, 1, False),
)


async def take_everything(request: web.Request) -> web.Response:
    """A bridge that wants to know nothing."""
    await request.read()
    return web.json_response({})


def be_a_bridge(port: int) -> None:
    """Serve as all bridges."""
    app = web.Application(client_max_size=100_000_000)
    app.router.add_route("*", "/{path:.*}", take_everything)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def registrations(directory: Path, number: int, port: int) -> tuple[Path, ...]:
    """Registration files; JSON is YAML too."""
    files = []
    for bridge in range(number):
        fields = {
            "id": f"bridge{bridge}",
            "url": f"http://127.0.0.1:{port}/{bridge}",
            "as_token": f"as{bridge}",
            "hs_token": f"hs{bridge}",
            "sender_localpart": f"bot{bridge}",
            "rate_limited": False,
            "namespaces": {"users": [{"regex": f"@ghost{bridge}_.*", "exclusive": True}]},
        }
        files.append(directory / f"{bridge}.yaml")
        files[-1].write_text(json.dumps(fields))
    return tuple(files)


@contextlib.asynccontextmanager
async def served(files: Sequence[Path], directory: Path) -> AsyncIterator[tuple[Homes, Client]]:
    """A server over a database of its own, and a user."""
    async with private_database(directory, durable=True) as url:
        settings = settings_for_tests(url, directory)
        settings = replace(settings, appservices=AppServices(files=tuple(files)))
        async with running(settings) as server, ClientSession() as session:
            homes = Homes(server, session)
            yield homes, await homes.user("alice")


async def send(client: Client, room_id: str, count: int, numbers: "itertools.count[int]") -> None:
    """Send messages, eight at a time."""

    async def one_sender() -> None:
        for _ in range(count // SENDERS):
            path = f"v3/rooms/{room_id}/send/m.room.message/{next(numbers)}"
            body = {"msgtype": "m.text", "body": "A message of usual length, not too long."}
            (await client.put(path, body)).ok()

    await asyncio.gather(*(one_sender() for _ in range(SENDERS)))


async def measure(name: str, bridges: int, in_room: int, port: int) -> None:
    """Send into a room with a number of bridges in it, and print what one message costs."""
    with private_directory() as directory:
        files = registrations(directory, bridges, port)
        async with served(files, directory) as (homes, alice):
            room_id = await alice.create_room(preset="public_chat")
            for bridge in range(in_room):
                bot = homes.nobody()
                bot.token = f"as{bridge}"
                await bot.join(room_id)
            numbers = itertools.count()
            await send(alice, room_id, MESSAGES // 4, numbers)
            database_before, own_before = postgres_seconds(directory), process_seconds()
            began = time.perf_counter()
            await send(alice, room_id, MESSAGES, numbers)
            wall = time.perf_counter() - began
            await asyncio.sleep(1)
            own = (process_seconds() - own_before) / MESSAGES * 1000
            database = (postgres_seconds(directory) - database_before) / MESSAGES * 1000
            print(
                f"{name:<36} server {own:.3f} ms, PostgreSQL {database:.3f} ms, "
                f"{MESSAGES / wall:.0f} messages a second",
                flush=True,
            )


def main() -> None:
    """Measure all cases."""
    if len(sys.argv) > 1:
        be_a_bridge(int(sys.argv[1]))
        return
    port, nobodys_port = 18_990, 18_991
    bridge = subprocess.Popen([sys.executable, "-m", "bench.bridged_messages", str(port)])
    try:
        for name, bridges, in_room, is_there in CASES:
            uvloop.run(measure(name, bridges, in_room, port if is_there else nobodys_port))
    finally:
        bridge.terminate()
        bridge.wait()


if __name__ == "__main__":
    main()
