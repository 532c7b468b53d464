"""Whom events notify, and how: the rules of all members with pushers, evaluated once an event.

The tests that are the same for everybody run once for an event, and the users who changed no rule
share one program; see `federation/protocol/push_evaluation.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.protocol.identifiers import UserId
from federation.protocol.push_conditions import RoomContext
from federation.protocol.push_evaluation import Decision, evaluate
from homeserver.push.display_names import display_names
from homeserver.push.ports import InvitesTaken
from homeserver.push.room_contexts import RoomContexts
from homeserver.push.rules import PushRules
from homeserver.push.threads import ThreadSubscribers, is_subscribed
from homeserver.rooms.ignored_users import IgnoredUsers
from storage.changes import StoredEvent
from storage.database import Database
from storage.names import Names


@dataclass(frozen=True, slots=True)
class Notified:
    """That an event notifies a user; `position` is where the stream had it, or the invite."""

    user_nid: int
    user_id: UserId
    position: int
    event: StoredEvent
    decision: Decision


class Decisions:
    """Evaluates events for users."""

    def __init__(
        self,
        db: Database,
        names: Names,
        rules: PushRules,
        contexts: RoomContexts,
        subscribers: ThreadSubscribers,
        ignored: IgnoredUsers,
        invites: InvitesTaken,
    ) -> None:
        self._db = db
        self._names = names
        self._rules = rules
        self._contexts = contexts
        self._subscribers = subscribers
        self._ignored = ignored
        self._invites = invites

    async def notified(
        self, events: Sequence[tuple[StoredEvent, int, Iterable[int]]]
    ) -> list[Notified]:
        """Whom events notify, given each with its position and the numbers of who may hear of it.

        In the order of the events.
        """
        user_ids = await self._names.users.get_texts({nid for *_, nids in events for nid in nids})
        evaluators = await self._rules.evaluators(user_ids)
        ignored = await self._ignored.ignored_by_many(user_ids)
        contexts = await self._contexts_of(event for event, *_ in events)
        names = await display_names(self._db, contexts, evaluators)
        subscribers = await self._subscribers.of((e for e, *_ in events), evaluators.values())
        found = []
        for event, position, user_nids in events:
            context = contexts[event.room_nid]
            view = self._contexts.view(event, context)
            for user_nid in user_nids:
                evaluator = evaluators[user_nid]
                if event.sender in ignored[user_nid] or (
                    is_invite_of(event, evaluator.user_id)
                    and not await self._invites.shows_invite(event.sender, user_nid)
                ):
                    continue
                decision = evaluate(
                    evaluator,
                    view,
                    names.get((event.room_nid, user_nid)),
                    is_subscribed=is_subscribed(subscribers, event, user_nid),
                )
                if decision is not None and decision.notify:
                    user_id = UserId(evaluator.user_id)
                    found.append(Notified(user_nid, user_id, position, event, decision))
        return found

    async def _contexts_of(self, events: Iterable[StoredEvent]) -> dict[int, RoomContext]:
        """The rooms' contexts; of a room that is held elsewhere little is known."""
        room_nids = {event.room_nid for event in events}
        contexts = await self._contexts.load(room_nids)
        elsewhere = room_nids - contexts.keys()
        if elsewhere:
            rooms = await self._names.rooms.get_many(elsewhere)
            contexts |= {nid: RoomContext(room.room_id, 0, None) for nid, room in rooms.items()}
        return contexts


def is_invite_of(event: StoredEvent, user_id: str) -> bool:
    """Whether an event invites a user."""
    return (
        event.type == "m.room.member"
        and event.state_key == user_id
        and event.content.get("membership") == "invite"
    )
