"""A call of two beside a server on a router: LiveKit, and the nginx of the set-up before both.

Everything is in a network of this process alone, since LiveKit's client library uses no addresses
of loopback. The people of the measurement come by nginx; the two callers, who would have to trust
its certificate, signal to LiveKit itself.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.bandwidth import User
from bench.bounded_program import BoundedProgram
from bench.livekit_memory import AS_SET_UP
from bench.media import family
from tests.calls.livekit_server import KEY, SECRET, LiveKitServer, livekit_config
from tests.federation.links.namespaces import Namespace
from tests.packaging.proxy import proxied

ADDRESS = "10.78.0.1"
LIVEKIT_PORT = 7880
SFU = f"ws://{ADDRESS}:{LIVEKIT_PORT}"
TOKEN_PATH = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token"
ROOT = Path(__file__).parents[1]
PARTICIPANT = ROOT / "tests" / "calls" / "participant.py"
SETUP = ROOT / "docker" / "setup"
SETTINGS = {
    "HEARTH_CALLS__LIVEKIT_URL": SFU,
    "HEARTH_CALLS__API_KEY": KEY,
    "HEARTH_CALLS__API_SECRET": SECRET,
}
"""What the server is told of LiveKit."""
HEARD_WITHIN_S = 60
LIMITS_OF_NGINX = ("NGINX_CONNECTIONS", "NGINX_OPEN_FILES", "CONNECTIONS_PER_ADDRESS")


@dataclass(frozen=True)
class Beside:
    """What runs beside the server."""

    session: aiohttp.ClientSession
    """The way to the server through nginx."""
    nginx: int
    livekit: int

    def sizes(self) -> dict[str, int]:
        """The proportional size of each, in bytes."""
        return {"nginx": proportional(self.nginx), "LiveKit": proportional(self.livekit)}


def proportional(process: int) -> int:
    """The proportional size of a process and its descendants, in bytes."""
    total = 0
    for pid in family(process):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@contextmanager
def own_network() -> Iterator[None]:
    """A network in which there is an address that is not loopback's, for all that follows."""
    network = Namespace()
    with network.entered():
        for command in (
            "link add call0 type veth peer name call1",
            f"address add {ADDRESS}/24 dev call0",
            "link set call0 up",
            "link set call1 up",
            "route add default dev call0",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield
    network.close()


@asynccontextmanager
async def beside(
    livekit: BoundedProgram, nginx: BoundedProgram, directory: Path, http_port: int
) -> AsyncIterator[Beside]:
    """LiveKit, with the environment of the set-up, and nginx, each within its bounds."""
    os.environ |= {**AS_SET_UP, "LIVEKIT_SERVER": str(livekit.launcher)}
    config = livekit_config(ADDRESS, LIVEKIT_PORT, f"http://127.0.0.1:{http_port}/livekit/jwt")
    server = LiveKitServer(directory, config, (ADDRESS, LIVEKIT_PORT))
    async with AsyncExitStack() as stack:
        await server.start()
        stack.push_async_callback(server.stop)
        proxy = await stack.enter_async_context(
            proxied(directory, http_port, LIVEKIT_PORT, program=nginx.launcher, **nginx_limits())
        )
        connector = aiohttp.TCPConnector(ssl=proxy.tls())
        session = aiohttp.ClientSession(proxy.url, connector=connector)
        yield Beside(await stack.enter_async_context(session), proxy.pid, server.pid)


def nginx_limits() -> dict[str, str]:
    """What the set-up gives nginx where memory is to be spared."""
    script = ". ./messages.sh; . ./configuration.sh; SMALL_MEMORY=yes; derive_memory; env"
    said = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=SETUP, check=True, capture_output=True, text=True
    ).stdout
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return {name: values[name] for name in LIMITS_OF_NGINX}


@asynccontextmanager
async def call_of(callers: list[User], room_id: str) -> AsyncIterator[None]:
    """A call in which all hear each other's tone, until left."""
    async with AsyncExitStack() as stack:
        for number, caller in enumerate(callers):
            slot = {"room_id": room_id, "slot_id": "m.call#ROOM", "member_id": str(number)}
            invitation = await caller.call("POST", TOKEN_PATH, {"url": SFU, **slot})
            process = await asyncio.create_subprocess_exec(
                os.environ["LIVEKIT_PYTHON"],
                PARTICIPANT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write(f"{json.dumps({'url': SFU, **invitation})}\n".encode())
            await process.stdin.drain()
            assert process.stdout is not None
            await hears(process.stdout, "playing" if number == 0 else "heard")
        yield


async def hears(lines: asyncio.StreamReader, key: str) -> None:
    """Wait until a participant hears something."""
    async with asyncio.timeout(HEARD_WITHIN_S):
        while key not in json.loads(line := await lines.readline()):
            assert line, "the participant has ended"
