"""Two homeservers in networks of their own, a real LiveKit beside the first, and participants."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from storage.cluster import Cluster
from tests.calls.livekit_server import KEY, SECRET, LiveKitServer, livekit_config
from tests.federation.certificates import Authority, make_authority
from tests.federation.links.far_server import FarServer, far_server
from tests.federation.links.link import ADDRESSES, DEVICE, bring_up
from tests.federation.links.namespaces import Namespace, NoNamespaces
from tests.homeserver.conftest import Answer, Client

NEEDED = ("LIVEKIT_SERVER", "LIVEKIT_PYTHON")
NO_LIVEKIT = "needs LiveKit and its client library: `make calls` builds one, installs the other"
NEAR, FAR = ADDRESSES
PORT = 7880
SFU = f"ws://{NEAR}:{PORT}"
SERVICE = "/livekit/jwt"
STARTED_WITHIN_S = 60
HEARD_WITHIN_S = 90

CALLS = f"""
[calls]
livekit_url = "ws://{{address}}:{PORT}"
api_key = "{KEY}"
api_secret = "{SECRET}"
service_url = "https://{{address}}{SERVICE}"
"""


def pytest_pycollect_makemodule() -> None:
    """Skip the whole directory, in one line, unless both are named."""
    if not all(os.environ.get(name) and Path(os.environ[name]).exists() for name in NEEDED):
        pytest.skip(NO_LIVEKIT, allow_module_level=True)


class Participant:
    """Somebody in a call; what they hear can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._heard: list[dict[str, Any]] = []

    async def hears(self, key: str, value: Any = None) -> dict[str, Any]:
        """The first thing heard with this key, and this value."""
        async with asyncio.timeout(HEARD_WITHIN_S):
            while True:
                for heard in self._heard:
                    if key in heard and value in (None, heard[key]):
                        return heard
                assert self._process.stdout is not None
                line = await self._process.stdout.readline()
                assert line, self._heard
                self._heard.append(json.loads(line))

    async def tell(self, text: str) -> None:
        """Send a message to all others."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        await self._process.stdin.drain()

    async def vanish(self) -> None:
        """Be gone without a word."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@dataclass
class Scene:
    """The two homeservers and LiveKit."""

    ends: tuple[Namespace, Namespace]
    near: FarServer
    far: FarServer
    livekit: LiveKitServer
    _stack: AsyncExitStack

    async def call(self, invitation: Any, end: int = 0) -> Participant:
        """Take part in a call from one of the networks."""
        with self.ends[end].entered():
            process = await asyncio.create_subprocess_exec(
                os.environ["LIVEKIT_PYTHON"],
                str(Path(__file__).with_name("participant.py")),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=2**20,
            )
        participant = Participant(process)
        self._stack.push_async_callback(participant.vanish)
        await participant.tell(json.dumps({"url": SFU, **invitation}))
        return participant


async def ask_service(client: Client, path: str, request: Any) -> Answer:
    """Ask the token service beside a client's server."""
    return await client.post(f"{SERVICE}/{path}", request)


async def openid_of(client: Client) -> Any:
    return (await client.post(f"v3/user/{client.user_id}/openid/request_token")).ok()


@contextmanager
def two_networks() -> Iterator[tuple[Namespace, Namespace]]:
    """Two networks with a cable between them. Raises `NoNamespaces`."""
    ends = Namespace(), Namespace()
    try:
        ends[0].run("ip", "link", "add", DEVICE, "type", "veth",
                    "peer", "name", DEVICE, "netns", ends[1].path)  # fmt: skip
        bring_up(ends)
        for end in ends:
            # The client library uses addresses only that lead somewhere.
            end.run("ip", "route", "add", "default", "dev", DEVICE)
        yield ends
    finally:
        for end in ends:
            end.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(
    cluster: Cluster, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """The scene, which the tests of a module share; LiveKit is beside the first homeserver only."""
    directory = tmp_path_factory.mktemp("calls")
    async with AsyncExitStack() as stack:
        try:
            ends = stack.enter_context(two_networks())
        except NoNamespaces as reason:
            pytest.skip(f"no networks can be made here: {reason}")
        config = livekit_config(NEAR, PORT, f"http://127.0.0.1:8008{SERVICE}")
        livekit = LiveKitServer(directory, config, (NEAR, PORT), ends[0].entered)
        stack.push_async_callback(livekit.stop)
        near, far = [
            await stack.enter_async_context(
                far_server(
                    end,
                    address,
                    cluster,
                    authority,
                    directory / address,
                    CALLS.format(address=address),
                )
            )
            for end, address in zip(ends, ADDRESSES, strict=True)
        ]
        await asyncio.gather(livekit.start(), near.ready(), far.ready())
        yield Scene(ends, near, far, livekit, stack)
