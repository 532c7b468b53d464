"""A client of sliding sync, however it asks, ends with what plain /sync and the server tell.

Random histories are played by several users; a reader asks at random moments, with random ranges
and limits, loses answers, and meets a server that has forgotten what it had in memory.
"""

import random
from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import EVERYTHING, Slider, rooms_in
from tests.homeserver.test_sync_model import do_something


async def states_of(reader: Client) -> dict[str, dict[tuple[str, str], str]]:
    """The state of the reader's rooms as the server has it."""
    states = {}
    for room_id in (await reader.get("v3/joined_rooms")).ok()["joined_rooms"]:
        events = (await reader.get(f"v3/rooms/{room_id}/state")).ok()
        states[room_id] = {(e["type"], e["state_key"]): e["event_id"] for e in events}
    return states


async def check(slider: Slider, reader: Client) -> None:
    """What the client knows of the rooms that it is in is what plain sync tells."""
    states = await states_of(reader)
    known = {nid: room for nid, room in slider.rooms.items() if room.membership == "join"}
    assert {room_id: room.state for room_id, room in known.items()} == states
    plain = (await reader.sync(filter='{"room":{"timeline":{"limit":50}}}'))["rooms"].get(
        "join", {}
    )
    for room_id, room in known.items():
        section = plain[room_id]
        assert room.joined_count == section["summary"]["m.joined_member_count"]
        names = [e["content"].get("name") for e in (await state_event(reader, room_id))]
        assert room.name == (names[0] if names else None)
        shown = [event["event_id"] for event in section["timeline"]["events"]]
        compared = min(len(room.timeline), len(shown))
        assert room.timeline[-compared:] == shown[-compared:]


async def state_event(reader: Client, room_id: str) -> list[Any]:
    """The name event of a room, if there is one."""
    events = (await reader.get(f"v3/rooms/{room_id}/state")).ok()
    return [e for e in events if e["type"] == "m.room.name"]


def forget(homes: Homes, rng: random.Random) -> None:
    """Have the server lose some of what it only has in memory."""
    window = homes.services.sync._stream.window
    if rng.random() < 0.3:
        window.start = window.position
    if rng.random() < 0.3:
        homes.services.sliding_sync._parts.connections._known.clear()
    if rng.random() < 0.2:
        followers = homes.services.sliding_sync._parts.followers
        for user_nid in list(followers._by_user):
            followers._drop(user_nid)


@pytest.mark.parametrize("seed", range(6))
async def test_a_sliding_client_knows_its_rooms(homes: Homes, seed: int) -> None:
    rng = random.Random(seed)
    users = [await homes.user() for _ in range(4)]
    reader = users[-1]
    levels = {"state_default": 0, "events_default": 0}
    rooms = [
        await users[0].create_room(preset="public_chat", power_level_content_override=levels)
        for _ in range(4)
    ]
    for room_id in rooms:
        for user in users[1:]:
            await user.join(room_id)
    slider = Slider(reader)
    for _ in range(8):
        for _ in range(3):
            for _ in range(rng.randrange(8)):
                await do_something(rng, rng.choice(rooms), users)
            forget(homes, rng)
            limit = rng.choice([1, 2, 5, 20])
            slider.lists = {
                "all": rooms_in(
                    0, rng.randrange(4), timeline_limit=limit, required_state=EVERYTHING
                )
            }
            if rng.random() < 0.3:
                (await slider.ask()).ok()
            await slider.next()
        slider.lists = {
            "all": rooms_in(0, 99, timeline_limit=rng.choice([1, 5]), required_state=EVERYTHING)
        }
        await slider.next()
        await check(slider, reader)
