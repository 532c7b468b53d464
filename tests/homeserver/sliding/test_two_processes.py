"""One connection served by two processes over one database."""

import asyncio

import aiohttp

from homeserver.app import running
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.rooms.test_thread_subscriptions import EXTENSION, subscribe
from tests.homeserver.sliding.slider import Slider, rooms_in, texts
from tests.patience import LONG_POLL_MS


async def test_a_connection_may_go_from_one_process_to_the_other(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    for room_id in rooms:
        await bob.join(room_id)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 9)}
    await slider.next()
    async with running(homes.services.settings) as server, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = bob.token, bob.user_id
        for number in range(6):
            room_id = rooms[number % 3]
            await alice.send(room_id, f"{number}")
            slider.client = (there, bob)[number % 2]
            answer = await slider.next(timeout_ms=LONG_POLL_MS)
            assert texts(answer["rooms"][room_id]) == [f"{number}"]
            assert set(answer["rooms"]) == {room_id}
        await alice.set_state(rooms[0], "m.room.topic", {"topic": "told once"})
        slider.client = there
        room = (await slider.next(timeout_ms=LONG_POLL_MS))["rooms"][rooms[0]]
        assert "m.room.topic" in {e["type"] for e in room["required_state"]}
        slider.client = bob
        assert (await slider.next())["rooms"] == {}


async def test_a_client_at_one_process_hears_of_threads_followed_at_the_other(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root_id = await alice.send(room_id, "root")
    slider = Slider(alice)
    slider.extensions = {EXTENSION: {"enabled": True}}
    await slider.next()
    async with running(homes.services.settings) as server, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = alice.token, alice.user_id
        waiting = asyncio.create_task(slider.next(timeout_ms=LONG_POLL_MS))
        (await subscribe(there, room_id, root_id)).ok()
        told = (await waiting)["extensions"][EXTENSION]
        assert told["subscribed"][room_id].keys() == {root_id}
