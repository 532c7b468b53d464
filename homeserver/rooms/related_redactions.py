"""Redacting what relates to a redacted event: its edits, the answers to a poll, a whole thread.

Source: MSC3912. Events that come later are not redacted.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import EventId, RoomId, UserId
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.user_events import REDACTION, UserEvents
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import find_event
from storage.relations import Children, children_of
from storage.timeline import HIGHEST, LOWEST

ANY = "*"
EDIT = "m.replace"
MOST = 500
"""Events that one request redacts at most, the latest ones."""
AT_ONCE = 20
"""They share a commit."""


@dataclass(frozen=True, slots=True)
class Redactor:
    """Who redacts."""

    user_id: UserId
    is_admin: bool = False
    is_suspended: bool = False


class RelatedRedactions:
    """Redacts the children of events."""

    def __init__(self, db: Database, events: UserEvents, send: Send) -> None:
        self._db = db
        self._events = events
        self._send = send

    async def redact(
        self, redactor: Redactor, room_id: RoomId, target: EventId, rel_types: Iterable[str]
    ) -> None:
        """Redact those that relate to an event; what the redactor may not redact stays."""
        parent = await find_event(self._db, target)
        if parent is None:
            return
        related = await self._related(parent, set(rel_types))
        for start in range(0, len(related), AT_ONCE):
            part = related[start : start + AT_ONCE]
            await asyncio.gather(*(self._redact(redactor, room_id, event) for event in part))

    async def _related(self, parent: StoredEvent, rel_types: set[str]) -> list[StoredEvent]:
        wanted: list[str | None] = [None] if ANY in rel_types else [*sorted(rel_types)]
        found: dict[str, StoredEvent] = {}
        for rel_type in wanted:
            children = Children(
                parent.room_nid, parent.event_id, LOWEST[1], HIGHEST[1], rel_type=rel_type
            )
            for event in await children_of(self._db, children, MOST, backwards=True):
                found[event.event_id] = event
        return [event for event in found.values() if is_to_go(event, parent)][:MOST]

    async def _redact(self, redactor: Redactor, room_id: RoomId, event: StoredEvent) -> None:
        new = NewEvent(redactor.user_id, REDACTION, {}, redacts=EventId(event.event_id))
        try:
            await self._events.check_redaction(
                room_id,
                new,
                is_admin=redactor.is_admin,
                is_suspended=redactor.is_suspended,
            )
            await self._send.send(room_id, new)
        except MatrixError:
            return


def is_to_go(event: StoredEvent, parent: StoredEvent) -> bool:
    """Whether an event is to be redacted; one that is no valid edit does not count as edit."""
    if event.redacted_by is not None:
        return False
    relation = event.content.get("m.relates_to")
    is_edit = isinstance(relation, dict) and relation.get("rel_type") == EDIT
    return not is_edit or (event.sender, event.type) == (parent.sender, parent.type)
