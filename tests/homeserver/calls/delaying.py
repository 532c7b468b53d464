"""Delayed events as a client schedules and manages them, and waiting for what they become."""

import asyncio
from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Answer, Client
from tests.patience import LONG_POLL_MS, PATIENCE_S

STABLE = "v1/delayed_events"
UNSTABLE = "unstable/org.matrix.msc4140/delayed_events"
HOUR_MS = 3_600_000
BRING_FORWARD = """
    UPDATE delayed_events
       SET due_ts = due_ts - $1, scheduled_ts = scheduled_ts - $1
     WHERE finalised_ts IS NULL
"""


async def delay_message(
    client: Client, room_id: str, text: str, delay_ms: int, txn_id: str | None = None
) -> Answer:
    """Have a message sent later, in the way that clients have had from the beginning."""
    body = {"msgtype": "m.text", "body": text}
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/{txn_id or text}"
    return await client.put(path, body, **{"org.matrix.msc4140.delay": delay_ms})


async def delay_state(
    client: Client, room_id: str, event_type: str, content: Any, delay_ms: int, state_key: str = ""
) -> str:
    """Have a part of the state set later; the ID."""
    path = f"v3/rooms/{quote(room_id)}/state/{event_type}/{quote(state_key, safe='')}"
    answer = await client.put(path, content, **{"org.matrix.msc4140.delay": delay_ms})
    return str(answer.ok()["delay_id"])


async def scheduled(client: Client) -> list[dict[str, Any]]:
    """What the client has scheduled, as it is listed."""
    listed: list[dict[str, Any]] = (await client.get(STABLE)).ok()["delayed_events"]
    return listed


async def finalised(client: Client) -> list[dict[str, Any]]:
    """What was finalised of the client's delayed events."""
    listed: list[dict[str, Any]] = (await client.get(STABLE, status="finalised")).ok()[
        "delayed_events"
    ]
    return listed


WHOLE = '{"room": {"timeline": {"limit": 500}}}'


class Listener:
    """A client that follows a room by long-polls, and keeps what it has heard."""

    def __init__(self, client: Client, room_id: str, since: str) -> None:
        self._client = client
        self._room_id = room_id
        self._since = since
        self.heard: list[dict[str, Any]] = []

    @classmethod
    async def begin(cls, client: Client, room_id: str) -> "Listener":
        """Listen from now on."""
        return cls(client, room_id, (await client.sync())["next_batch"])

    async def hear(self, wanted: int = 1, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """The events of the timeline, once there are so many."""
        async with asyncio.timeout(within_s):
            while len(self.heard) < wanted:
                answer = await self._client.sync(self._since, timeout_ms=LONG_POLL_MS, filter=WHOLE)
                room = answer.get("rooms", {}).get("join", {}).get(self._room_id, {})
                self.heard += room.get("timeline", {}).get("events", [])
                self._since = answer["next_batch"]
        return self.heard

    async def texts(self, wanted: int) -> list[str]:
        """The texts of messages, once there are so many."""
        return [event["content"]["body"] for event in await self.hear(wanted)]
