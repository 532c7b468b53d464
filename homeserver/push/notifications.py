"""The notifications that a user has had, newest first, worked out from history.

Nothing is kept for each notification: the rules, as they are now, are evaluated over the events of
the user's rooms again. A page looks through a bounded number of events.
Source: client-server API, push notifications, "Listing Notifications".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from federation.protocol.errors import InvalidParam
from federation.protocol.push_evaluation import Decision, evaluate
from homeserver.push.counts import Notifying as Unread
from homeserver.push.counts import is_read
from homeserver.push.display_names import display_names
from homeserver.push.room_contexts import RoomContexts
from homeserver.push.rules import PushRules
from homeserver.push.threads import ThreadSubscribers, is_subscribed, thread_of
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_visibility import see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.names import Names
from storage.receipts import ReadUpTo, read_up_to

CHUNK = 200
MOST_EXAMINED = 5_000
NEWEST = 2**62
MAX_DIGITS = 18

SELECT_BEFORE = f"""
    SELECT {COLUMNS}
      FROM memberships AS m
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = m.room_nid
              AND events.stream_position < $2
              AND events.stream_position >= 0
              AND events.sender_nid <> $1
            ORDER BY events.stream_position DESC
            LIMIT $3) AS e
     WHERE m.user_nid = $1 AND m.membership = 1
     ORDER BY e.stream_position DESC
     LIMIT $3
"""  # noqa: S608 - constants of ours


@dataclass(frozen=True, slots=True)
class Notified:
    """An event that notified the user."""

    event: StoredEvent
    decision: Decision


class Notifications:
    """Lists notifications."""

    def __init__(
        self,
        db: Database,
        names: Names,
        rules: PushRules,
        contexts: RoomContexts,
        subscribers: ThreadSubscribers,
        clients: ClientEvents,
        ignored: IgnoredUsers,
    ) -> None:
        self._db = db
        self._names = names
        self._rules = rules
        self._contexts = contexts
        self._subscribers = subscribers
        self._clients = clients
        self._ignored = ignored

    async def page(
        self, viewer: Viewer, before: str | None, limit: int, *, highlights_only: bool
    ) -> dict[str, Any]:
        """A page of the listing as the response has it. Raises `InvalidParam` for a bad token."""
        position = parse_token(before)
        found: list[Notified] = []
        examined = 0
        more = True
        while more and len(found) < limit and examined < MOST_EXAMINED:
            rows = await self._db.fetch(SELECT_BEFORE, viewer.user_nid, position, CHUNK)
            events = [event_of_row(row) for row in rows]
            more = len(events) == CHUNK
            examined += len(events)
            notified = await self._evaluate(viewer, events, highlights_only=highlights_only)
            if len(found) + len(notified) > limit:
                notified = notified[: limit - len(found)]
                more = True
                position = notified[-1].event.position or 0
            elif events:
                position = events[-1].position or 0
            found += notified
        body: dict[str, Any] = {"notifications": await self._describe(viewer, found)}
        if more:
            body["next_token"] = str(position)
        return body

    async def _evaluate(
        self, viewer: Viewer, events: Sequence[StoredEvent], *, highlights_only: bool
    ) -> list[Notified]:
        evaluator = await self._rules.evaluator(viewer.user_nid, viewer.user_id)
        contexts = await self._contexts.load({event.room_nid for event in events})
        subscribers = await self._subscribers.of(events, [evaluator])
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        names = await display_names(self._db, contexts, {viewer.user_nid: evaluator})
        notified = []
        for event in events:
            context = contexts.get(event.room_nid)
            if context is None or event.sender in ignored:
                continue
            decision = evaluate(
                evaluator,
                self._contexts.view(event, context),
                names.get((event.room_nid, viewer.user_nid)),
                is_subscribed=is_subscribed(subscribers, event, viewer.user_nid),
            )
            if decision is None or not decision.notify:
                continue
            if decision.highlight or not highlights_only:
                notified.append(Notified(event, decision))
        return notified

    async def _describe(self, viewer: Viewer, found: Sequence[Notified]) -> list[dict[str, Any]]:
        seen = await see_events(self._db, self._names, viewer, [item.event for item in found])
        rendered = await self._clients.render(seen, viewer, with_room_id=False)
        events = {
            item.event.event_nid: encoded for item, encoded in zip(seen, rendered, strict=True)
        }
        room_nids = {item.event.room_nid for item in found}
        rooms = await self._names.rooms.get_many(room_nids)
        receipts = await read_up_to(self._db, room_nids, viewer.user_nid)
        return [
            {
                "actions": list(item.decision.actions),
                "event": orjson.Fragment(events[item.event.event_nid]),
                "profile_tag": None,
                "read": is_covered(item.event, receipts),
                "room_id": rooms[item.event.room_nid].room_id,
                "ts": item.event.fields["origin_server_ts"],
            }
            for item in found
            if item.event.event_nid in events
        ]


def is_covered(event: StoredEvent, receipts: Sequence[ReadUpTo]) -> bool:
    """Whether one of the user's receipts covers an event."""
    item = Unread(event.position or 0, thread_of(event.content), highlight=False)
    return any(
        receipt.room_nid == event.room_nid
        and receipt.event_position is not None
        and is_read(item, receipt.thread_id, receipt.event_position)
        for receipt in receipts
    )


def parse_token(token: str | None) -> int:
    """The position before which a page begins."""
    if token is None:
        return NEWEST
    if not (token.isascii() and token.isdecimal()) or len(token) > MAX_DIGITS:
        raise InvalidParam("'from' is not a token that this server gave out")
    return int(token)
