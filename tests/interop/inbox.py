"""What a client has been shown: its syncs, one after the other, gathered."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tests.homeserver.conftest import Client

WITHIN_S = 90
"""Long enough for Synapse to look by itself, once a minute, who may be there again."""
LONG_POLL_MS = 5_000
WHOLE = '{"room": {"timeline": {"limit": 1000}}}'

Event = dict[str, Any]


class Inbox:
    """Gathers what a client's syncs say."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._since: str | None = None
        self.standings: dict[str, str] = {}
        """The section of the answer that a room was last in: join, invite, knock or leave."""
        self.timelines: dict[str, list[Event]] = defaultdict(list)
        self.repeated: list[Event] = []
        """Events of timelines that had been shown before."""
        self.stripped: dict[str, list[Event]] = {}
        """Of rooms that one is invited to or has knocked on."""
        self.ephemeral: dict[str, dict[str, Any]] = defaultdict(dict)
        self.presence: dict[str, Any] = {}
        self.to_device: list[Event] = []
        self.changed_devices: set[str] = set()

    async def look(self, timeout_ms: int = 0) -> None:
        """One sync."""
        answer = await self.client.sync(self._since, timeout_ms=timeout_ms, filter=WHOLE)
        self._since = answer["next_batch"]
        for standing, rooms in answer.get("rooms", {}).items():
            for room_id, room in rooms.items():
                self.standings[room_id] = standing
                await self._take_timeline(room_id, room.get("timeline", {}))
                self._take_rest(room_id, room)
        for event in answer.get("presence", {}).get("events", ()):
            self.presence[event["sender"]] = event["content"]
        self.changed_devices |= set(answer.get("device_lists", {}).get("changed", ()))
        self.to_device += answer.get("to_device", {}).get("events", ())

    async def _take_timeline(self, room_id: str, timeline: Any) -> None:
        """Append what is shown, and before it what a gap left out, as clients page back to it."""
        shown = self.timelines[room_id]
        known = {event["event_id"] for event in shown}
        gap: list[Event] = []
        token = timeline.get("prev_batch") if timeline.get("limited") and known else None
        while token is not None:
            query = {"dir": "b", "limit": 100, "from": token}
            page = (await self.client.get(f"v3/rooms/{room_id}/messages", **query)).ok()
            fresh = [event for event in page["chunk"] if event["event_id"] not in known]
            gap += fresh
            token = page.get("end") if len(fresh) == len(page["chunk"]) else None
        shown += gap[::-1]
        for event in timeline.get("events", ()):
            (self.repeated if event["event_id"] in known else shown).append(event)

    def _take_rest(self, room_id: str, room: Any) -> None:
        for kind in ("invite_state", "knock_state"):
            if kind in room:
                self.stripped[room_id] = room[kind]["events"]
        for event in room.get("ephemeral", {}).get("events", ()):
            self.ephemeral[room_id][event["type"]] = event["content"]

    async def until(self, is_there: Callable[[], Any]) -> Any:
        """Sync until `is_there` answers with something; its answer."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while not (found := is_there()):
                    await self.look(LONG_POLL_MS)
        except TimeoutError:
            raise AssertionError(f"{self.client.user_id} waits in vain: {self}") from None
        return found

    def __str__(self) -> str:
        counts = {room_id: len(events) for room_id, events in self.timelines.items()}
        messages = f"{len(self.to_device)} messages to the device"
        return f"rooms {self.standings}, events shown {counts}, {messages}"

    async def until_standing(self, room_id: str, standing: str) -> None:
        """Sync until the room is in this section."""
        await self.until(lambda: self.standings.get(room_id) == standing)

    async def until_membership(self, room_id: str, user_id: str, membership: str) -> Event:
        """Sync until the timeline has this membership of a user; its event."""

        def find() -> Event | None:
            for event in reversed(self.timelines[room_id]):
                if (event["type"], event.get("state_key")) == ("m.room.member", user_id):
                    return event if event["content"]["membership"] == membership else None
            return None

        event: Event = await self.until(find)
        return event

    async def until_event(self, room_id: str, event_id: str) -> Event:
        """Sync until the timeline has the event."""

        def find() -> Event | None:
            shown = self.timelines[room_id]
            return next((event for event in shown if event["event_id"] == event_id), None)

        event: Event = await self.until(find)
        return event

    def texts(self, room_id: str) -> list[str]:
        """The messages in the room's timeline."""
        shown = self.timelines[room_id]
        return [event["content"].get("body") for event in shown if is_message(event)]


def is_message(event: Event) -> bool:
    return bool(event["type"] == "m.room.message")
