"""matrix-js-sdk in Node.js, without a browser: devices that talk, and one that only listens."""

import asyncio

import pytest

from tests.clients.browsers import HERE
from tests.homeserver.server_process import ServerProcess

pytestmark = pytest.mark.clients

WITHIN_S = 180


async def test_what_element_does_with_encryption_works(server: ServerProcess) -> None:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / "talk.mjs"),
        server.base_url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()}"
    assert out.decode().splitlines()[-1].startswith("a new dehydrated device")
