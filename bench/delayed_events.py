"""What a delayed event costs: processor time of scheduling, restarting and sending it.

Run as `python -m bench.delayed_events`. The client is in the same process, so its side of each
request is counted too; a message that is sent at once, and a request that does next to nothing,
are there to compare with.
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import uvloop

from bench.private_database import private_database, private_directory
from homeserver.app import running
from tests.homeserver.conftest import Homes, settings_for_tests

TIMES = 90
"""Fewer than a user may have scheduled."""
ROUNDS = 5
HOUR_MS = 3_600_000
EVENTS = "unstable/org.matrix.msc4140/delayed_events"
DELAY = {"org.matrix.msc4140.delay": HOUR_MS}


async def measure(homes: Homes) -> None:
    """Do everything many times and print what it took."""
    alice, nobody = await homes.user("alice"), homes.nobody()
    room_id = await alice.create_room()
    room = f"v3/rooms/{quote(room_id)}"
    spent: dict[str, float] = {}

    async def take(what: str, act: Callable[[int], Awaitable[None]]) -> None:
        began = time.process_time()
        for number in range(TIMES):
            await act(number)
        spent[what] = spent.get(what, 0.0) + time.process_time() - began

    for round_number in range(ROUNDS):
        delay_ids: list[str] = []

        async def ask(_: int) -> None:
            (await nobody.get("versions")).ok()

        async def say(number: int, txn: str = f"now{round_number}") -> None:
            body = {"msgtype": "m.text", "body": "hello"}
            (await alice.put(f"{room}/send/m.room.message/{txn}.{number}", body)).ok()

        async def schedule(
            number: int, txn: str = f"later{round_number}", found: list[str] = delay_ids
        ) -> None:
            body = {"msgtype": "m.text", "body": "hello"}
            path = f"{room}/send/m.room.message/{txn}.{number}"
            found.append((await alice.put(path, body, **DELAY)).ok()["delay_id"])

        async def restart(number: int, found: list[str] = delay_ids) -> None:
            (await nobody.post(f"{EVENTS}/{found[number]}/restart")).ok()

        async def send(number: int, found: list[str] = delay_ids) -> None:
            (await nobody.post(f"{EVENTS}/{found[number]}/send")).ok()

        await take("a question without an answer to work out", ask)
        await take("a message", say)
        await take("scheduling", schedule)
        await take("restarting", restart)
        await take("sending", send)
    for what, seconds in spent.items():
        print(f"{what}: {seconds / TIMES / ROUNDS * 1000:.2f} ms")


async def run(directory: Path) -> None:
    """Measure over a database of its own."""
    async with private_database(directory) as url:
        settings = settings_for_tests(url, directory)
        async with running(settings) as server, aiohttp.ClientSession() as session:
            await measure(Homes(server, session))


def main() -> None:
    """Measure and print."""
    with private_directory() as directory:
        uvloop.run(run(directory))


if __name__ == "__main__":
    main()
