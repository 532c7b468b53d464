"""Users of another server and those of a bridge here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest_asyncio

from homeserver.config.sections.appservices import AppServices
from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.sides import Side, side
from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, register
from tests.homeserver.conftest import Client


@dataclass
class Far:
    """A bridge at our server, and Bob at another."""

    bridge: Bridge
    homes: BridgedHomes
    there: Side
    bob: Client
    ghost_id: str


@pytest_asyncio.fixture
async def far(cluster: Cluster, authority: Authority, tmp_path: Path) -> AsyncIterator[Far]:
    async with (
        aiohttp.ClientSession() as session,
        side(cluster, authority, tmp_path / "here", session) as here,
        side(cluster, authority, tmp_path / "there", session) as there,
        Bridge(server_name=here.name, fields={"receive_ephemeral": True}).running() as bridge,
    ):
        await here.stop()
        files = (bridge.write_to(tmp_path),)
        here.settings = replace(here.settings, appservices=AppServices(files=files))
        await here.start()
        assert here.homes is not None
        homes = BridgedHomes(here.homes.server, session)
        bob = await there.user("bob")
        yield Far(bridge, homes, there, bob, f"@irc_ghost:{here.name}")


async def test_an_invite_from_afar_makes_the_user_and_is_told(far: Far) -> None:
    service = far.homes.as_service(far.bridge)

    async def make() -> None:
        await register(service, "irc_ghost")

    far.bridge.knows[far.ghost_id] = make
    room_id = await far.bob.create_room(name="Far away")
    await far.bob.invite(room_id, far.ghost_id)
    await far.bridge.wait_for(lambda: far.bridge.events)
    (event,) = far.bridge.events
    assert (event["room_id"], event["state_key"]) == (room_id, far.ghost_id)
    shown = {e["type"]: e["content"] for e in event["unsigned"]["invite_room_state"]}
    assert shown["m.room.name"] == {"name": "Far away"}
    ghost = far.homes.acting(far.bridge, far.ghost_id)
    (await ghost.post(f"v3/join/{quote(room_id)}", server_name=far.there.name)).ok()
    event_id = await far.bob.send(room_id, "hello over there")
    assert (await far.bridge.wait_for_event(event_id))["content"]["body"] == "hello over there"


async def test_an_invite_that_comes_while_the_bridge_is_away_is_told_later(far: Far) -> None:
    await register(far.homes.as_service(far.bridge), "irc_ghost")
    await far.bridge.stop()
    room_id = await far.bob.create_room()
    await far.bob.invite(room_id, far.ghost_id)
    await far.homes.come_back(far.bridge)
    await far.bridge.wait_for(lambda: far.bridge.events)
    assert far.bridge.events[0]["room_id"] == room_id


async def test_a_profile_is_asked_for_from_afar(far: Far) -> None:
    service = far.homes.as_service(far.bridge)

    async def make() -> None:
        await register(service, "irc_ghost")
        ghost = far.homes.acting(far.bridge, far.ghost_id)
        path = f"v3/profile/{quote(far.ghost_id)}/displayname"
        (await ghost.put(path, {"displayname": "Ghost"})).ok()

    far.bridge.knows[far.ghost_id] = make
    profile = (await far.bob.get(f"v3/profile/{quote(far.ghost_id)}")).ok()
    assert profile == {"displayname": "Ghost"}


async def test_messages_to_devices_come_from_afar(far: Far) -> None:
    await register(far.homes.as_service(far.bridge), "irc_ghost")
    ghost = far.homes.acting(far.bridge, far.ghost_id)
    assert (await ghost.put("v3/devices/PHONE", {})).status == 201
    body = {"messages": {far.ghost_id: {"PHONE": {"hello": "there"}}}}
    (await far.bob.put("v3/sendToDevice/m.test/1", body)).ok()
    key = "de.sorunome.msc2409.to_device"
    await far.bridge.wait_for(lambda: far.bridge.told(key))
    assert far.bridge.told(key) == [
        {
            "type": "m.test",
            "sender": far.bob.user_id,
            "content": {"hello": "there"},
            "to_user_id": far.ghost_id,
            "to_device_id": "PHONE",
        }
    ]
