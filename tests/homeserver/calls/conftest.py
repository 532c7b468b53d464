"""A server with calls, and the LiveKit server that it uses, which a test plays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from homeserver.app import running
from homeserver.config.settings import Settings
from storage.database import Pool, open_pool
from tests.homeserver.calls.played_livekit import SERVICE, PlayedLiveKit, played_livekit, tell
from tests.homeserver.conftest import Answer, Client, Homes, settings_for_tests

SLOT = "m.call#ROOM"


@dataclass
class CallingHomes:
    """A running server with calls."""

    homes: Homes
    livekit: PlayedLiveKit
    session: aiohttp.ClientSession

    async def user(self, localpart: str) -> Client:
        return await self.homes.user(localpart)

    async def service(self, path: str, body: Any) -> Answer:
        """Ask the token service."""
        return await self.homes.nobody().post(f"{SERVICE}/{path}", body)

    async def tell(self, event: str, room: str, identity: str, **changes: Any) -> Answer:
        """Send a webhook of LiveKit."""
        return await tell(self.session, self.homes.base_url, event, room, identity, **changes)


async def openid_of(client: Client) -> Any:
    """An OpenID token of the user."""
    return (await client.post(f"v3/user/{client.user_id}/openid/request_token")).ok()


async def room_request(client: Client, room_id: str, **changes: Any) -> dict[str, Any]:
    """The body of /sfu/get."""
    openid = await openid_of(client)
    return {"room": room_id, "openid_token": openid, "device_id": client.device_id, **changes}


async def slot_request(client: Client, room_id: str, **changes: Any) -> dict[str, Any]:
    """The body of /get_token."""
    member = {
        "id": "member",
        "claimed_user_id": client.user_id,
        "claimed_device_id": client.device_id,
    }
    openid = await openid_of(client)
    request = {"room_id": room_id, "slot_id": SLOT, "openid_token": openid, "member": member}
    return request | changes


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await open_pool(database_url, 4)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def livekit() -> AsyncIterator[PlayedLiveKit]:
    async with played_livekit() as played:
        yield played


@pytest_asyncio.fixture
async def calling_settings(database_url: str, tmp_path: Path, livekit: PlayedLiveKit) -> Settings:
    """The settings of a server with calls; a module may have its own."""
    return replace(settings_for_tests(database_url, tmp_path), calls=livekit.settings)


@pytest_asyncio.fixture
async def calling(
    calling_settings: Settings, livekit: PlayedLiveKit
) -> AsyncIterator[CallingHomes]:
    """A server with calls."""
    async with running(calling_settings) as server, aiohttp.ClientSession() as session:
        yield CallingHomes(Homes(server, session), livekit, session)
