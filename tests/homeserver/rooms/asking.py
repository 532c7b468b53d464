"""Questions about rooms that tests ask often."""

from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client


async def state_content(client: Client, room_id: str, event_type: str, state_key: str = "") -> Any:
    """The content of a state event."""
    path = f"v3/rooms/{quote(room_id)}/state/{event_type}/{quote(state_key, safe='')}"
    return (await client.get(path)).ok()


async def whole_state(client: Client, room_id: str) -> list[Any]:
    """All state events, the oldest first."""
    events: list[Any] = (await client.get(f"v3/rooms/{quote(room_id)}/state")).ok()
    return events


async def state_types(client: Client, room_id: str) -> list[str]:
    """The types of all state events, the oldest first."""
    return [event["type"] for event in await whole_state(client, room_id)]


async def membership(client: Client, room_id: str, user_id: str) -> str:
    """Somebody's membership as the room has it."""
    content = await state_content(client, room_id, "m.room.member", user_id)
    return str(content["membership"])
