"""A client that follows /sync, however it is cut, ends with the state that the server has.

Random histories are played by several users; a reader syncs at random moments, with random
timeline limits, with and without `use_state_after`, from the window and from the database, and
keeps the state of each room as clients do. It must agree with GET /state.
"""

import random
from typing import Any

import orjson
import pytest

from tests.homeserver.conftest import Client, Homes

State = dict[tuple[str, str], str]


def follow(states: dict[str, State], news: Any, *, state_after: bool) -> None:
    """Apply a sync response to what the client knows of its rooms."""
    for room_id, room in news.get("rooms", {}).get("join", {}).items():
        state = states.setdefault(room_id, {})
        told = room["state_after" if state_after else "state"]["events"]
        shown = [] if state_after else room["timeline"]["events"]
        for event in [*told, *shown]:
            if "state_key" in event:
                state[event["type"], event["state_key"]] = event["event_id"]
    for room_id in news.get("rooms", {}).get("leave", {}):
        states.pop(room_id, None)


async def do_something(rng: random.Random, room_id: str, users: list[Client]) -> None:
    """One random deed of one of the users; it may be refused."""
    actor, target = rng.choice(users), rng.choice(users)
    match rng.randrange(8):
        case 0 | 1 | 2:
            path = f"v3/rooms/{room_id}/send/m.room.message/{rng.random()}"
            await actor.put(path, {"msgtype": "m.text", "body": "hello"})
        case 3:
            await actor.put(f"v3/rooms/{room_id}/state/m.room.name", {"name": str(rng.random())})
        case 4:
            path = f"v3/rooms/{room_id}/state/org.example.{rng.randrange(4)}/{rng.randrange(3)}"
            await actor.put(path, {"value": rng.random()})
        case 5:
            await actor.post(f"v3/rooms/{room_id}/leave")
        case 6:
            await actor.post(f"v3/join/{room_id}")
        case 7:
            await users[0].post(f"v3/rooms/{room_id}/kick", {"user_id": target.user_id})


async def check(reader: Client, states: dict[str, State]) -> None:
    """The client's state of each room is the server's."""
    joined = (await reader.get("v3/joined_rooms")).ok()["joined_rooms"]
    assert set(states) == set(joined)
    for room_id in joined:
        events = (await reader.get(f"v3/rooms/{room_id}/state")).ok()
        expected = {(e["type"], e["state_key"]): e["event_id"] for e in events}
        assert states[room_id] == expected


@pytest.mark.parametrize("state_after", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_a_following_client_knows_the_state_of_its_rooms(
    homes: Homes, seed: int, state_after: bool
) -> None:
    rng = random.Random(seed)
    users = [await homes.user() for _ in range(4)]
    reader = users[-1]
    levels = {"state_default": 0, "events_default": 0}
    rooms = [
        await users[0].create_room(preset="public_chat", power_level_content_override=levels)
        for _ in range(2)
    ]
    for room_id in rooms:
        for user in users[1:]:
            await user.join(room_id)
    states: dict[str, State] = {}
    since = None
    for _ in range(40):
        for _ in range(rng.randrange(12)):
            await do_something(rng, rng.choice(rooms), users)
        if rng.random() < 0.3:
            window = homes.services.sync._stream.window
            window.start = window.position
        wanted = {"room": {"timeline": {"limit": rng.choice([1, 2, 5, 20])}}}
        query: dict[str, Any] = {"use_state_after": "true"} if state_after else {}
        news = await reader.sync(since, filter=orjson.dumps(wanted).decode(), **query)
        since = news["next_batch"]
        follow(states, news, state_after=state_after)
        await check(reader, states)


async def test_paging_back_over_gaps_finds_every_message_once(homes: Homes) -> None:
    rng = random.Random(3)
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    sent: list[str] = []
    seen: list[str] = []
    for _ in range(10):
        sent += [await alice.send(room_id, str(n)) for n in range(rng.randrange(30))]
        wanted = orjson.dumps({"room": {"timeline": {"limit": 4}}}).decode()
        news = await bob.sync(since, filter=wanted)
        room = news.get("rooms", {}).get("join", {}).get(room_id)
        if room is not None:
            missed: list[str] = []
            token, limited = room["timeline"]["prev_batch"], room["timeline"]["limited"]
            while limited and token is not None:
                page = (
                    await bob.get(
                        f"v3/rooms/{room_id}/messages",
                        dir="b",
                        limit=7,
                        to=since,
                        **{"from": token},
                    )
                ).ok()
                missed += [e["event_id"] for e in page["chunk"]]
                token = page.get("end")
            seen += missed[::-1] + [e["event_id"] for e in room["timeline"]["events"]]
        since = news["next_batch"]
    assert seen == sent
