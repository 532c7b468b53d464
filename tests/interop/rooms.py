"""What users do in rooms and see of them, and waiting until both servers agree."""

import asyncio
from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client
from tests.interop.inbox import WITHIN_S, Event, Inbox, is_message

VERSIONS = ("1", "6", "10", "11", "12")
State = dict[tuple[str, str], str]
"""Event IDs by type and state key."""


def room_path(room_id: str, rest: str) -> str:
    """The path of something in a room."""
    return f"v3/rooms/{quote(room_id)}/{rest}"


async def state_of(client: Client, room_id: str) -> State:
    """The room's current state as the client's server tells it."""
    events = (await client.get(room_path(room_id, "state"))).ok()
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


async def agreed_state(one: Client, other: Client, room_id: str) -> State:
    """Wait until both servers have the same state in the room, event by event; that state."""
    inboxes = Inbox(one), Inbox(other)
    states: list[State] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                states = [await state_of(client, room_id) for client in (one, other)]
                if states[0] == states[1]:
                    return states[0]
                await asyncio.gather(*(inbox.look(timeout_ms=500) for inbox in inboxes))
    except TimeoutError:
        raise AssertionError(await differences(one, other, room_id, states)) from None


async def differences(one: Client, other: Client, room_id: str, states: list[State]) -> str:
    """What the servers disagree about, in words."""
    lines = [f"{one.user_id} and {other.user_id} see different states of {room_id}:"]
    for place in sorted(states[0].keys() | states[1].keys()):
        ids = [state.get(place) for state in states]
        if ids[0] != ids[1]:
            lines.append(f"{place}: {ids[0]} and {ids[1]}")
    return "\n".join(lines)


async def content_of(
    client: Client, room_id: str, event_type: str, state_key: str = ""
) -> dict[str, Any]:
    """The content of a state event, as the client's server has it."""
    path = room_path(room_id, f"state/{event_type}/{quote(state_key, safe='')}")
    content: dict[str, Any] = (await client.get(path)).ok()
    return content


async def history(client: Client, room_id: str, page: int = 50) -> list[Event]:
    """All events of the room, oldest first, by paging back from its end."""
    events: list[Event] = []
    query: dict[str, Any] = {}
    while True:
        path = room_path(room_id, "messages")
        answer = (await client.get(path, dir="b", limit=page, **query)).ok()
        events += answer["chunk"]
        if "end" not in answer or is_beginning(answer["chunk"]):
            return events[::-1]
        query = {"from": answer["end"]}


def is_beginning(chunk: list[Event]) -> bool:
    return any(event["type"] == "m.room.create" for event in chunk)


async def whole_history(client: Client, room_id: str, count: int) -> list[str]:
    """The messages of the room's history, once there are so many."""
    texts: list[str] = []
    async with asyncio.timeout(WITHIN_S):
        while len(texts) < count:
            events = await history(client, room_id)
            texts = [event["content"]["body"] for event in events if is_message(event)]
    return texts


async def share_a_room(alice: Client, bob: Client, via: str, **options: Any) -> str:
    """A room that Alice makes and Bob joins through the server `via`; its ID."""
    room_id = await alice.create_room(**{"preset": "public_chat", **options})
    await join_by_way_of(bob, room_id, via)
    return room_id


async def join_by_way_of(client: Client, room_id: str, via: str) -> None:
    """Join a room through another server."""
    (await client.post(f"v3/join/{quote(room_id)}", server_name=via, via=via)).ok()


async def leave(client: Client, room_id: str) -> None:
    """Leave a room, or turn down an invite."""
    (await client.post(room_path(room_id, "leave"))).ok()


async def kick(client: Client, room_id: str, user_id: str) -> None:
    """Kick a user, or take back an invite."""
    (await client.post(room_path(room_id, "kick"), {"user_id": user_id})).ok()


async def ban(client: Client, room_id: str, user_id: str) -> None:
    """Ban a user."""
    (await client.post(room_path(room_id, "ban"), {"user_id": user_id})).ok()


async def unban(client: Client, room_id: str, user_id: str) -> None:
    """Unban a user."""
    (await client.post(room_path(room_id, "unban"), {"user_id": user_id})).ok()


async def redact(client: Client, room_id: str, event_id: str) -> None:
    """Redact an event."""
    (await client.put(room_path(room_id, f"redact/{event_id}/r{event_id[1:9]}"))).ok()


async def send_to_device(sender: Client, receiver: Client, count: int) -> None:
    """Send numbered messages to a device."""
    for n in range(count):
        body = {"messages": {receiver.user_id: {receiver.device_id: {"n": n}}}}
        (await sender.put(f"v3/sendToDevice/org.example.count/{n}", body)).ok()
