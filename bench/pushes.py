"""What notifications cost: processor time of the server for an event and for a push.

Run as `python -m bench.pushes`. The members of a room are on this server and each has a pusher;
the gateway is played in the same process, so its side of each request is counted too. First all
members have muted everything, so that an event costs its evaluation and no push.
"""

import time
from pathlib import Path
from urllib.parse import quote

import uvloop

from bench.private_database import private_database, private_directory
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.push.gateway import (
    PushGateway,
    push_gateway,
    pushing_homes,
    settings_with_gateway,
)

MEMBERS = 50
EVENTS = 10
MASTER = "v3/pushrules/global/override/.m.rule.master/enabled"


async def measure(homes: Homes, gateway: PushGateway) -> None:
    """Send to a room whose members have pushers, muted at first, and print what it took."""
    alice = await homes.user("alice")
    room_id = await alice.create_room(preset="public_chat")
    watcher = await homes.user("watcher")
    await watcher.join(room_id)
    without = await send_all(alice, room_id, gateway, 0)
    members = [await homes.user() for _ in range(MEMBERS)]
    for number, member in enumerate(members):
        await member.join(room_id)
        await gateway.follow(member, f"key{number}", data={"format": "event_id_only"})
        (await member.put(MASTER, {"enabled": True})).ok()
    await gateway.follow(watcher, "watcher")
    muted = await send_all(alice, room_id, gateway, 1)
    for member in members:
        (await member.put(MASTER, {"enabled": False})).ok()
    await send_all(alice, room_id, gateway, MEMBERS + 1)
    pushed = await send_all(alice, room_id, gateway, MEMBERS + 1)
    print(f"an event without pushers: {without * 1000:.2f} ms")
    print(f"an event evaluated for {MEMBERS} muted members: {muted * 1000:.2f} ms")
    print(f"a push: {(pushed - muted) / MEMBERS * 1000:.2f} ms")


async def send_all(client: Client, room_id: str, gateway: PushGateway, pushes: int) -> float:
    """The processor seconds of an event that leads to so many pushes."""
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/{time.monotonic_ns()}"
    began = time.process_time()
    for number in range(EVENTS):
        (await client.put(f"{path}.{number}", {"msgtype": "m.text", "body": "hello"})).ok()
        for _ in range(pushes):
            await gateway.next_with_event()
    return (time.process_time() - began) / EVENTS


async def run(directory: Path) -> None:
    """Measure over a database of its own."""
    async with private_database(directory) as url:
        settings = settings_with_gateway(url, directory)
        async with push_gateway() as gateway, pushing_homes(settings) as homes:
            await measure(homes, gateway)


def main() -> None:
    """Measure and print."""
    with private_directory() as directory:
        uvloop.run(run(directory))


if __name__ == "__main__":
    main()
