"""Which thread an event is in, and who is subscribed to it, for rules that ask for that.

The subscribers of a thread are read together and kept until one of them changes their mind, so an
event costs at most one query however many members have rules, and one outside of threads none.
Source: client-server API, "Threading"; MSC4306.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.protocol.push_evaluation import Evaluator
from storage.cache import Cache
from storage.changes import Change, StoredEvent, ThreadSubscriptionSet
from storage.database import Database
from storage.thread_subscriptions import Thread, subscribers_of

MAIN = "main"
ENTRY_COST = 400
SUBSCRIBER_COST = 60
MOST_READS = 3
"""So often subscribers are read if some change while they are."""

Subscribers = Mapping[Thread, frozenset[int]]


def thread_of(content: Mapping[str, Any]) -> str:
    """The root of the thread that an event is in, or `main`."""
    relation = content.get("m.relates_to")
    if isinstance(relation, Mapping) and relation.get("rel_type") == "m.thread":
        root = relation.get("event_id")
        if isinstance(root, str):
            return root
    return MAIN


def is_subscribed(subscribers: Subscribers, event: StoredEvent, user_nid: int) -> bool:
    """Whether a user is subscribed to the thread of an event."""
    if not subscribers:
        return False
    return user_nid in subscribers.get((event.room_nid, thread_of(event.content)), ())


class ThreadSubscribers:
    """The subscribers of threads; `heard` must be told of all changes that are committed."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._kept: Cache[Thread, frozenset[int]] = Cache(max_bytes)
        self._changes_heard = 0

    async def of(
        self, events: Iterable[StoredEvent], evaluators: Iterable[Evaluator]
    ) -> Subscribers:
        """Who is subscribed to the threads of the events, as far as any of the rules ask."""
        threads = {(event.room_nid, thread_of(event.content)) for event in events}
        threads = {thread for thread in threads if thread[1] != MAIN}
        if not threads or not any(one.program.asks_for_subscriptions for one in evaluators):
            return {}
        for _ in range(MOST_READS):
            heard_before = self._changes_heard
            found = await self._read(threads)
            if self._changes_heard == heard_before:
                break
        return found

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget the subscribers of threads where that has changed."""
        for change in changes:
            if isinstance(change, ThreadSubscriptionSet):
                self._kept.discard((change.room_nid, change.root_id))
                self._changes_heard += 1

    async def _read(self, threads: Iterable[Thread]) -> dict[Thread, frozenset[int]]:
        kept = {thread: self._kept.get(thread) for thread in threads}
        found = {thread: users for thread, users in kept.items() if users is not None}
        missing = kept.keys() - found.keys()
        if not missing:
            return found
        heard_before = self._changes_heard
        read = await subscribers_of(self._db, missing)
        for thread, users in read.items():
            found[thread] = frozenset(users)
            if self._changes_heard == heard_before:
                self._kept.put(thread, found[thread], ENTRY_COST + SUBSCRIBER_COST * len(users))
        return found
