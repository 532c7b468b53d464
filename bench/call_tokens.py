"""What a token for a call costs, and what having calls costs in memory.

    python -m bench.call_tokens

A server in a process of its own over a private PostgreSQL, and in this process a LiveKit that is
played: its cost is not in the figures. Each request proves itself by OpenID, has its membership of
the room looked up, and has the LiveKit room made.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from tests.homeserver.calls.conftest import room_request
from tests.homeserver.calls.played_livekit import KEY_NAME, SECRET, SERVICE, URL, played_livekit
from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.server_process import ServerProcess

REQUESTS = 1_000
AT_ONCE = 10
TICKS = os.sysconf("SC_CLK_TCK")

CALLS = """
[calls]
livekit_url = "{url}"
livekit_api_url = "http://127.0.0.1:{port}"
api_key = "{key}"
api_secret = "{secret}"
"""


def processor_time_s(pid: int) -> float:
    """What the process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def anonymous_kb(pid: int) -> int:
    """The memory of the process that is nobody else's and no file's."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss_Anon:"))


async def register(session: aiohttp.ClientSession, base_url: str) -> Client:
    """A new user."""
    client = Client(session, base_url)
    body = {"username": "alice", "password": "a password", "auth": {"type": "m.login.dummy"}}
    Homes.log_in(client, (await client.post("v3/register", body)).ok())
    return client


async def time_requests(pid: int, name: str, make: Callable[[], Awaitable[Answer]]) -> None:
    """Make the same request many times, some at once."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def make_in_turn() -> None:
        async with turns:
            (await make()).ok()

    await make_in_turn()
    began_s, began_cpu_s = time.monotonic(), processor_time_s(pid)
    await asyncio.gather(*(make_in_turn() for _ in range(REQUESTS)))
    took_s, cpu_s = time.monotonic() - began_s, processor_time_s(pid) - began_cpu_s
    print(f"{name}: {cpu_s * 1000 / REQUESTS:.2f} ms of processor time each,", end=" ")
    print(f"{REQUESTS / took_s:.0f} a second")


async def main() -> None:
    """Without calls, then with them."""
    async with played_livekit() as livekit, aiohttp.ClientSession() as session:
        calls = CALLS.format(url=URL, port=livekit.port, key=KEY_NAME, secret=SECRET)
        for config in ("", calls):
            with tempfile.TemporaryDirectory() as directory:
                server = ServerProcess(Path(directory), "", config)
                await server.start(session)
                try:
                    await look_at(server, session, has_calls=bool(config))
                finally:
                    await server.stop()


async def look_at(
    server: ServerProcess, session: aiohttp.ClientSession, *, has_calls: bool
) -> None:
    """Take the figures of a server."""
    pid = server.pid
    alice = await register(session, server.base_url)
    room_id = await alice.create_room()
    await time_requests(pid, "whoami", lambda: alice.get("v3/account/whoami"))
    print(f"{'with' if has_calls else 'without'} calls: {anonymous_kb(pid)} KiB")
    if has_calls:
        request = await room_request(alice, room_id)
        await time_requests(pid, "token", lambda: alice.post(f"{SERVICE}/sfu/get", request))
        print(f"after {REQUESTS} tokens: {anonymous_kb(pid)} KiB")


if __name__ == "__main__":
    asyncio.run(main())
