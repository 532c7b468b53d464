"""Bytes on the line: what a client and the server say to each other, with HTTP's headers.

    python -m bench.bandwidth LAUNCHER [--rooms 50]

LAUNCHER is tests/peers/hearth-launcher. A server is started twice, as it is and with
`profile.low_bandwidth`. Between it and the client stands a relay that counts the bytes of the
connections, as TCP carries them, without TLS. The client asks as Element Web does of /sync, and as
Element X does of sliding sync.
"""

import argparse
import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from bench.media import launch
from bench.private_database import private_directory
from bench.sliding_sync import PATH as SLIDING_PATH
from bench.sliding_sync import request as sliding_request

MESSAGES = 20
"""In each room, and measured one by one."""
MEMBERS = 5
TEXT = "This is a message of usual length, as people write them."
FILTER = json.dumps({"room": {"timeline": {"limit": 20}, "state": {"lazy_load_members": True}}})
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SWITCH = "HEARTH_PROFILE__LOW_BANDWIDTH"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("launcher", type=Path)
    parser.add_argument("--rooms", type=int, default=50)
    asked = parser.parse_args()
    for title, switch in (("as it is", "false"), ("low bandwidth", "true")):
        os.environ[SWITCH] = switch
        print(f"{title:34}{'up':>9}{'down':>10}")
        asyncio.run(run(asked.launcher, asked.rooms))


async def run(launcher: Path, rooms: int) -> None:
    with private_directory() as directory:
        process, port = launch(launcher, directory)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as beside:
                await ready(beside)
                async with relay(port) as line:
                    await measure(line, beside, rooms)
        finally:
            process.terminate()
            process.wait()


class Line:
    """Counts what goes to the server and what comes from it."""

    def __init__(self) -> None:
        self.port = 0
        self.up = self.down = 0

    def report(self, title: str, count: int = 1) -> None:
        """Print what has come together since the last report, each."""
        print(f"  {title:32}{self.up / count:9.0f}{self.down / count:10.0f}")
        self.up = self.down = 0


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Line]:
    """A line to a port of this machine."""
    line = Line()

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str
    ) -> None:
        while data := await reader.read(65_536):
            setattr(line, direction, getattr(line, direction) + len(data))
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(carry(reader, far_writer, "up"), carry(far_reader, writer, "down"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()


async def ready(session: aiohttp.ClientSession) -> None:
    for _ in range(3000):
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.get("/health") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)


class User:
    """Somebody with a token; asks over the line or beside it."""

    def __init__(self, session: aiohttp.ClientSession, user_id: str, token: str) -> None:
        self.session = session
        self.user_id = user_id
        self.headers = {"Authorization": f"Bearer {token}", "User-Agent": AGENT}
        self.sent = 0

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        params = {name: str(value) for name, value in query.items()}
        async with self.session.request(
            method, path, json=body, params=params, headers=self.headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def send(self, room: str) -> None:
        self.sent += 1
        path = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/t{self.sent}"
        await self.call("PUT", path, {"msgtype": "m.text", "body": f"{TEXT} {self.sent}"})

    async def type(self, room: str, typing: bool) -> None:
        path = f"/_matrix/client/v3/rooms/{quote(room)}/typing/{quote(self.user_id)}"
        await self.call("PUT", path, {"typing": typing, "timeout": 20_000})


async def register(session: aiohttp.ClientSession, name: str) -> User:
    body = {"username": name, "password": "0123456789", "auth": {"type": "m.login.dummy"}}
    async with session.post("/_matrix/client/v3/register", json=body) as answer:
        told = await answer.json()
    return User(session, told["user_id"], told["access_token"])


async def measure(line: Line, beside: aiohttp.ClientSession, count: int) -> None:
    others = [await register(beside, f"other{number}") for number in range(MEMBERS - 1)]
    user = await register(beside, "user")
    rooms = [await fill(others, user, number) for number in range(count)]
    room = rooms[-1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{line.port}") as session:
        user.session = session
        reply = await user.call("GET", "/_matrix/client/v3/sync", filter=FILTER)
        line.report(f"initial /sync of {count} rooms")
        since = reply["next_batch"]
        for _ in range(MESSAGES):
            since = await hear_message(user, others[0], room, since)
        line.report("message heard by /sync", MESSAGES)
        for _ in range(MESSAGES):
            since = await hear_message(user, others[0], room, since, typed=True)
        line.report("the same with its typing", MESSAGES)
        for _ in range(MESSAGES):
            await user.send(room)
        line.report("message sent", MESSAGES)
        body = sliding_request("bench", 19)
        reply = await user.call("POST", SLIDING_PATH, body)
        line.report("first sliding sync, 20 rooms")
        pos = reply["pos"]
        for _ in range(MESSAGES):
            pos = await slide(user, others[0], room, body, pos)
        line.report("message heard by sliding sync", MESSAGES)


async def fill(others: list[User], user: User, number: int) -> str:
    """A room with members and messages."""
    options = {"preset": "public_chat", "name": f"Room number {number}"}
    room = str((await others[0].call("POST", "/_matrix/client/v3/createRoom", options))["room_id"])
    for one in [*others[1:], user]:
        await one.call("POST", f"/_matrix/client/v3/join/{quote(room)}", {})
    for index in range(MESSAGES):
        await others[index % len(others)].send(room)
    return room


async def hear_message(
    user: User, other: User, room: str, since: str, *, typed: bool = False
) -> str:
    """Wait for a message as a client does: a request is there when it comes."""

    async def ask(since: str) -> Any:
        path = "/_matrix/client/v3/sync"
        return await user.call("GET", path, since=since, timeout=30_000, filter=FILTER)

    async def write() -> None:
        await asyncio.sleep(0.02)
        if typed:
            await other.type(room, True)
            await asyncio.sleep(0.05)
            await other.type(room, False)
        await other.send(room)

    writing = asyncio.create_task(write())
    reply = await ask(since)
    while not has_events(reply, room):
        reply = await ask(reply["next_batch"])
    await writing
    return str(reply["next_batch"])


def has_events(reply: Any, room: str) -> bool:
    joined = reply.get("rooms", {}).get("join", {}).get(room, {})
    return bool(joined.get("timeline", {}).get("events"))


async def slide(user: User, other: User, room: str, body: Any, pos: str) -> str:
    waiting = asyncio.create_task(user.call("POST", SLIDING_PATH, body, pos=pos, timeout=30_000))
    await asyncio.sleep(0.02)
    await other.send(room)
    reply = await waiting
    while room not in reply["rooms"]:
        reply = await user.call("POST", SLIDING_PATH, body, pos=reply["pos"], timeout=30_000)
    return str(reply["pos"])


if __name__ == "__main__":
    main()
