"""Element Call in two browsers, with hearth and a real LiveKit, as Element Web has it."""

import asyncio
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.calls.livekit_server import KEY, SECRET, LiveKitServer, livekit_config
from tests.clients.browsers import Browsers
from tests.clients.conftest import Household
from tests.homeserver.server_process import ServerProcess
from tests.ports import free_port

pytestmark = pytest.mark.calls

UNSTABLE = "/_matrix/client/unstable"
PROBES = (
    f"401 POST {UNSTABLE}/io.element.msc4195/rtc/livekit/delegate_delayed_leave",
    "400 POST /livekit/jwt/delegate_delayed_leave",
)
"""By empty requests Element Call finds out that leaving can be left to the server."""

CALLS = """
[calls]
livekit_url = "ws://127.0.0.1:{port}"
livekit_api_url = "http://127.0.0.1:{port}"
api_key = "{key}"
api_secret = "{secret}"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def calling_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A homeserver with LiveKit beside it, both on loopback."""
    if not os.environ.get("LIVEKIT_SERVER"):
        pytest.skip("needs LiveKit: `make calls` builds it")
    directory = tmp_path_factory.mktemp("calls")
    port = free_port()
    config = CALLS.format(port=port, key=KEY, secret=SECRET)
    server = ServerProcess(directory, more_config=config)
    livekit = LiveKitServer(
        directory,
        livekit_config("127.0.0.1", port, f"{server.base_url}/livekit/jwt"),
        ("127.0.0.1", port),
    )
    async with aiohttp.ClientSession() as session:
        try:
            await asyncio.gather(livekit.start(), server.start(session))
            yield server
        finally:
            await server.stop()
            await livekit.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def callers(browsers: Browsers, calling_server: ServerProcess) -> AsyncIterator[Household]:
    """People who can call each other."""
    household = Household(browsers, calling_server)
    household.expect(*PROBES)
    yield household
    assert await household.close() == []


# By state events and a token for the room, and by sticky events and a token for the slot.
@pytest.mark.parametrize("mode", ["compatibility", "matrix_2_0"])
async def test_two_people_see_each_other_in_an_encrypted_call(
    callers: Household, mode: str
) -> None:
    alice, bob = await callers.user("alice"), await callers.user("bob")
    wanted = {"name": "Call", "invite": [bob.user_id], "encrypted": True}
    room_id = await alice.do("createRoom", wanted)
    await bob.do("acceptInvitation", room_id)
    await alice.do("members", room_id, 2)
    await alice.do("joinCall", room_id, "start_call", mode)
    await bob.do("joinCall", room_id, "join_existing", mode)
    await asyncio.gather(alice.do("seeMoving", 2), bob.do("seeMoving", 2))
    await alice.do("hangUp")
    await bob.do("seeAlone")


async def test_who_vanishes_from_a_call_is_taken_out_of_it_by_the_server(
    callers: Household,
) -> None:
    alice, bob = await callers.user("alice"), await callers.user("bob")
    room_id = await alice.do("createRoom", {"name": "Call", "invite": [bob.user_id]})
    await bob.do("acceptInvitation", room_id)
    await alice.do("joinCall", room_id, "start_call")
    await bob.do("joinCall", room_id, "join_existing")
    await alice.do("seeInCall", room_id, [alice.user_id, bob.user_id])
    await alice.do("seeMoving", 2)
    await callers.end(bob)
    await alice.do("seeInCall", room_id, [alice.user_id])
