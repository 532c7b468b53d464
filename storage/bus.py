"""Wake-ups between the server processes that share a database.

Over PostgreSQL's LISTEN/NOTIFY. Every process hears every message but those it sent itself.
Nothing rests on a message arriving: whoever misses one finds the truth in the database.
"""

import secrets
from collections.abc import Callable

from storage.database import Database

CHANNEL = "hearth_bus"

Handler = Callable[[str], None]


class Bus:
    """Messages by topic; a topic has no colon in it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._own_id = secrets.token_hex(8)
        self._handlers: dict[str, Handler] = {}
        self._missed: list[Callable[[], None]] = []

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Have `handler` called with the messages that other processes send on a topic."""
        self._handlers[topic] = handler

    def on_missed(self, handler: Callable[[], None]) -> None:
        """Have `handler` called when messages may have been missed."""
        self._missed.append(handler)

    def lost(self) -> None:
        """Messages may have been missed."""
        for handler in self._missed:
            handler()

    async def publish(self, topic: str, message: str) -> None:
        """Tell the other processes; a message has at most 7,900 bytes."""
        payload = f"{self._own_id}:{topic}:{message}"
        await self._db.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

    def hear(self, payload: str) -> None:
        """Take a notification off the channel."""
        sender, topic, message = payload.split(":", 2)
        handler = self._handlers.get(topic)
        if sender != self._own_id and handler is not None:
            handler(message)
