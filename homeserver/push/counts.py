"""Unread counts: how many events since a user's receipts notify the user, by thread.

Nothing is written when an event comes: a room of a thousand members would cost a thousand rows a
message. Counts are worked out when a sync shows a room, from the events since the user's receipts,
and kept in memory: for each user and room the notifying events that are unread. New events are
added and receipts take away, so a client that keeps up costs one evaluation for each event.
Source: client-server API, push notifications, "Receiving notifications"; "Threading".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from federation.protocol.identifiers import UserId
from federation.protocol.push_conditions import RoomContext
from federation.protocol.push_evaluation import Decision, Evaluator, evaluate
from homeserver.push.display_names import display_names
from homeserver.push.room_contexts import RoomContexts
from homeserver.push.rules import PushRules
from homeserver.push.threads import (
    MAIN,
    Subscribers,
    ThreadSubscribers,
    is_subscribed,
    thread_of,
)
from homeserver.rooms.ignored_users import IgnoredUsers
from storage.cache import Cache
from storage.changes import (
    Change,
    EventAdded,
    ReceiptMoved,
    StoredEvent,
    ThreadSubscriptionSet,
)
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.receipts import ReadUpTo, read_up_to
from storage.stream import Stream

CALL_INVITE = "m.call.invite"
MOST_EXAMINED = 1_000
"""The newest unread events of a room that are looked at; a count ends there."""
ENTRY_COST = 150

SELECT_UNREAD = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::bigint[]) AS r (room_nid, since)
     CROSS JOIN LATERAL (
           SELECT *
             FROM events
            WHERE events.room_nid = r.room_nid
              AND events.stream_position > r.since
              AND events.stream_position <= $3
              AND events.sender_nid <> $4
            ORDER BY events.stream_position DESC
            LIMIT $5) AS e
     ORDER BY e.stream_position
"""  # noqa: S608 - constants of ours


@dataclass(frozen=True, slots=True)
class Notifying:
    """An unread event that notifies the user."""

    position: int
    thread_id: str
    highlight: bool
    is_call: bool = False


@dataclass(slots=True)
class Counter:
    """What is unread of one room for one user, as of a stream position, less what is ignored."""

    upto: int
    unread: list[Notifying]
    ignored: frozenset[str]


@dataclass(frozen=True, slots=True)
class Counts:
    """Unread notifications and highlights of a room or one of its threads."""

    notifications: int
    highlights: int

    def body(self) -> dict[str, int]:
        """As /sync has it."""
        return {
            "notification_count": self.notifications,
            "highlight_count": self.highlights,
        }


NONE = Counts(0, 0)


@dataclass(frozen=True, slots=True)
class RoomCounts:
    """The counts of all of a room, of its main timeline and of its threads by root."""

    total: Counts
    main: Counts
    threads: Mapping[str, Counts]


NOTHING_UNREAD = RoomCounts(NONE, NONE, {})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A user with their rules, and the subscribers of the threads that they are evaluated over.

    What `ignored` users send notifies nobody.
    """

    user_nid: int
    evaluator: Evaluator
    subscribers: Subscribers
    ignored: frozenset[str]


class UnreadCounts:
    """The counts of this process's users."""

    def __init__(
        self,
        db: Database,
        stream: Stream,
        rules: PushRules,
        contexts: RoomContexts,
        subscribers: ThreadSubscribers,
        ignored: IgnoredUsers,
        max_bytes: int,
    ) -> None:
        self._db = db
        self._stream = stream
        self._rules = rules
        self._contexts = contexts
        self._subscribers = subscribers
        self._ignored = ignored
        self._counters: Cache[tuple[int, int], Counter] = Cache(max_bytes)

    async def of(
        self, user_nid: int, user_id: UserId, rooms: Mapping[int, int], upto: int
    ) -> dict[int, RoomCounts]:
        """The counts of rooms, given with the position since which the user is in each."""
        evaluator = await self._rules.evaluator(user_nid, user_id)
        contexts = await self._contexts.load(self._behind(user_nid, rooms, upto))
        asked = contexts if evaluator.program.asks_for_subscriptions else ()
        added = (event for nid in asked for event in self._added(user_nid, nid, upto))
        subscribers = await self._subscribers.of(added, [evaluator])
        ignored = await self._ignored.ignored_by(user_nid)
        evaluation = Evaluation(user_nid, evaluator, subscribers, ignored)
        unknown: dict[int, int] = {}
        for room_nid, joined_at in rooms.items():
            counter, context = self._counters.get((user_nid, room_nid)), contexts.get(room_nid)
            if counter is None or not self._advance(counter, room_nid, evaluation, context, upto):
                unknown[room_nid] = joined_at
        if unknown:
            await self._count(user_nid, evaluator, ignored, unknown, upto)
        result = {}
        for room_nid in rooms:
            counter = self._counters.get((user_nid, room_nid))
            result[room_nid] = summarise(counter.unread) if counter else NOTHING_UNREAD
        return result

    async def read_unread(
        self, user_nid: int, user_id: UserId, rooms: Mapping[int, int], upto: int
    ) -> dict[int, list[Notifying]]:
        """What is unread in rooms as of `upto`, without keeping it; rooms as for `of`."""
        evaluator = await self._rules.evaluator(user_nid, user_id)
        ignored = await self._ignored.ignored_by(user_nid)
        return await self._read_unread(user_nid, evaluator, ignored, rooms, upto)

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Let receipts take away what was read; a listener of the stream."""
        del own
        for change in changes:
            if isinstance(change, ReceiptMoved):
                self._read(change)
            elif isinstance(change, ThreadSubscriptionSet):
                self._counters.discard((change.user_nid, change.room_nid))

    def _read(self, receipt: ReceiptMoved) -> None:
        key = (receipt.user_nid, receipt.room_nid)
        counter = self._counters.get(key)
        if counter is None:
            return
        position = self._stream.window.find_position(receipt.room_nid, receipt.event_id)
        if position is None:
            self._counters.discard(key)
            return
        counter.unread = [
            item for item in counter.unread if not is_read(item, receipt.thread_id, position)
        ]

    def _behind(self, user_nid: int, room_nids: Iterable[int], upto: int) -> list[int]:
        """The rooms that have a counter which is not at `upto` yet, and of which there is news."""
        window = self._stream.window
        behind = []
        for room_nid in room_nids:
            counter = self._counters.get((user_nid, room_nid))
            if counter is None or counter.upto >= upto:
                continue
            if window.start <= counter.upto and not window.has_room_since(room_nid, counter.upto):
                counter.upto = upto
            else:
                behind.append(room_nid)
        return behind

    def _advance(
        self,
        counter: Counter,
        room_nid: int,
        evaluation: Evaluation,
        context: RoomContext | None,
        upto: int,
    ) -> bool:
        """Count the events up to `upto` in; False if they are not at hand.

        Nor can it go on from what was counted when the user ignored others than now.
        """
        ignored = evaluation.ignored
        if counter.ignored is not ignored and counter.ignored != ignored:
            return False
        if counter.upto >= upto:
            return True
        if context is None or self._stream.window.start > counter.upto:
            return False
        added = self._added(evaluation.user_nid, room_nid, upto)
        counter.upto = max(counter.upto, upto)
        counter.unread += self._evaluate(evaluation, context, added, None)
        return True

    def _added(self, user_nid: int, room_nid: int, upto: int) -> list[StoredEvent]:
        """The events of the window, up to `upto`, that a counter has not seen."""
        counter = self._counters.get((user_nid, room_nid))
        if counter is None:
            return []
        return [
            change.event
            for change in self._stream.window.room_changes(room_nid, counter.upto)
            if isinstance(change, EventAdded) and change.position <= upto
        ]

    async def _count(
        self,
        user_nid: int,
        evaluator: Evaluator,
        ignored: frozenset[str],
        rooms: Mapping[int, int],
        upto: int,
    ) -> None:
        found = await self._read_unread(user_nid, evaluator, ignored, rooms, upto)
        for room_nid, unread in found.items():
            cost = ENTRY_COST * (2 + len(unread))
            self._counters.put((user_nid, room_nid), Counter(upto, unread, ignored), cost)

    async def _read_unread(
        self,
        user_nid: int,
        evaluator: Evaluator,
        ignored: frozenset[str],
        rooms: Mapping[int, int],
        upto: int,
    ) -> dict[int, list[Notifying]]:
        """What is unread in rooms, from the database."""
        receipts: dict[int, list[ReadUpTo]] = {}
        for receipt in await read_up_to(self._db, rooms, user_nid):
            receipts.setdefault(receipt.room_nid, []).append(receipt)
        since = {
            room_nid: read_by_all_means(joined_at, receipts.get(room_nid, ()))
            for room_nid, joined_at in rooms.items()
        }
        rows = await self._db.fetch(
            SELECT_UNREAD, list(since), list(since.values()), upto, user_nid, MOST_EXAMINED
        )
        events: dict[int, list[StoredEvent]] = {}
        for row in rows:
            event = event_of_row(row)
            events.setdefault(event.room_nid, []).append(event)
        names = await display_names(self._db, events, {user_nid: evaluator})
        contexts = await self._contexts.load(events)
        subscribers = await self._subscribers.of(chain.from_iterable(events.values()), [evaluator])
        evaluation = Evaluation(user_nid, evaluator, subscribers, ignored)
        found: dict[int, list[Notifying]] = {}
        for room_nid in rooms:
            unread: list[Notifying] = []
            if room_nid in contexts:
                name = names.get((room_nid, user_nid))
                unread = self._evaluate(evaluation, contexts[room_nid], events[room_nid], name)
            for receipt in receipts.get(room_nid, ()):
                position = receipt.event_position
                if position is not None:
                    unread = [x for x in unread if not is_read(x, receipt.thread_id, position)]
            found[room_nid] = unread
        return found

    def _evaluate(
        self,
        evaluation: Evaluation,
        context: RoomContext,
        events: Sequence[StoredEvent],
        display_name: str | None,
    ) -> list[Notifying]:
        notifying = []
        for event in events:
            if event.sender == evaluation.evaluator.user_id or event.sender in evaluation.ignored:
                continue
            view = self._contexts.view(event, context)
            decision = evaluate(
                evaluation.evaluator,
                view,
                display_name,
                is_subscribed=is_subscribed(evaluation.subscribers, event, evaluation.user_nid),
            )
            if decision is not None and decision.notify:
                notifying.append(notifying_of(event, decision))
        return notifying


def notifying_of(event: StoredEvent, decision: Decision) -> Notifying:
    """What is kept of an event that notifies."""
    is_call = event.type == CALL_INVITE
    return Notifying(event.position or 0, thread_of(event.content), decision.highlight, is_call)


def read_by_all_means(joined_at: int, receipts: Iterable[ReadUpTo]) -> int:
    """Up to where a room counts as read, whatever the thread."""
    unthreaded = (
        receipt.event_position
        for receipt in receipts
        if not receipt.thread_id and receipt.event_position is not None
    )
    return max([joined_at, *unthreaded])


def is_read(item: Notifying, thread_id: str, position: int) -> bool:
    """Whether a receipt at a position, threaded or not (''), covers an event."""
    return item.position <= position and thread_id in ("", item.thread_id)


def summarise(unread: Sequence[Notifying]) -> RoomCounts:
    """The counts of a room from its unread notifying events."""
    if not unread:
        return NOTHING_UNREAD
    threads: dict[str, list[Notifying]] = {}
    for item in unread:
        threads.setdefault(item.thread_id, []).append(item)
    counts = {thread_id: _count(items) for thread_id, items in threads.items()}
    main = counts.pop(MAIN, NONE)
    return RoomCounts(_count(unread), main, counts)


def _count(items: Sequence[Notifying]) -> Counts:
    return Counts(len(items), sum(item.highlight for item in items))
