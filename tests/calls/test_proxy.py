"""A real LiveKit behind the nginx of the set-up: signalling gets through, its API does not."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from homeserver.calls.signed_tokens import ApiKey
from tests.calls.livekit_server import KEY, SECRET, LiveKitServer, livekit_config
from tests.packaging.proxy import NGINX_PROGRAM, Proxy, proxied
from tests.ports import free_ports

pytestmark = [
    pytest.mark.calls,
    pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed"),
]
ROOM = "behind a proxy"


def token(grants: dict[str, object]) -> str:
    """What lets somebody do these things at LiveKit."""
    claims = {"sub": "alice", "video": {"room": ROOM, **grants}}
    return ApiKey(KEY, SECRET).sign(claims, now_s=int(time.time()), lifetime_s=60)


@pytest_asyncio.fixture
async def livekit_port(tmp_path: Path) -> AsyncIterator[int]:
    """A LiveKit that has one room."""
    (port,) = free_ports(1)
    config = livekit_config("127.0.0.1", port, "http://127.0.0.1:1")
    server = LiveKitServer(tmp_path, config, ("127.0.0.1", port))
    await server.start()
    async with aiohttp.ClientSession() as session:
        create = f"http://127.0.0.1:{port}/twirp/livekit.RoomService/CreateRoom"
        headers = {"Authorization": f"Bearer {token({'roomCreate': True})}"}
        async with session.post(create, json={"name": ROOM}, headers=headers) as response:
            assert response.status == 200
    yield port
    await server.stop()


async def join(proxy: Proxy, session: aiohttp.ClientSession, access: str) -> bytes:
    """The first message of LiveKit to somebody who joins."""
    url = f"{proxy.url}/livekit/sfu/rtc?access_token={access}&protocol=15&sdk=js"
    async with session.ws_connect(url) as ws:
        return await ws.receive_bytes()


async def test_signalling_reaches_livekit(livekit_port: int, tmp_path: Path) -> None:
    async with (
        proxied(tmp_path, hearth=1, livekit=livekit_port) as proxy,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=proxy.tls())) as session,
    ):
        answer = await join(proxy, session, token({"roomJoin": True}))
        assert ROOM.encode() in answer
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await join(proxy, session, "nonsense")
        assert refused.value.status == 401


async def test_its_api_is_not_there_outside(livekit_port: int, tmp_path: Path) -> None:
    async with (
        proxied(tmp_path, hearth=1, livekit=livekit_port) as proxy,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=proxy.tls())) as session,
        session.post(
            f"{proxy.url}/livekit/sfu/twirp/livekit.RoomService/CreateRoom",
            json={"name": "another"},
            headers={"Authorization": f"Bearer {token({'roomCreate': True})}"},
        ) as response,
    ):
        assert response.status == 404
