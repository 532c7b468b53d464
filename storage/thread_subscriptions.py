"""Thread subscriptions: which threads users follow, and which they have ceased to follow.

A thread is named by its room and the ID of its root. An automatic subscription is one that a client
made by itself because of an event; it neither takes the place of one that the user asked for, nor
does it undo that the user unsubscribed after the event. Source: MSC4306.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.changes import ThreadSubscriptionSet
from storage.committer import Write
from storage.database import Database

Thread = tuple[int, str]
"""Room and root."""
Key = tuple[int, str, int]
"""Room, root and user."""

UPSERT = """
    INSERT INTO thread_subscriptions AS old
           (room_nid, root_id, user_nid, stream_position, is_subscribed, is_automatic)
    SELECT * FROM unnest($1::integer[], $2::text[], $3::integer[], $4::bigint[], $5::boolean[],
                         $6::boolean[])
        ON CONFLICT (room_nid, root_id, user_nid)
        DO UPDATE SET stream_position = EXCLUDED.stream_position,
                      is_subscribed = EXCLUDED.is_subscribed,
                      is_automatic = EXCLUDED.is_automatic
"""


@dataclass(frozen=True, slots=True)
class ThreadSubscription:
    """How a user stands to a thread since a position of the stream."""

    position: int
    is_subscribed: bool
    is_automatic: bool


@dataclass(slots=True)
class SetThreadSubscription(Write):
    """A user subscribes to a thread or unsubscribes, if what stands there lets them.

    `cause_position` is where the event stands that an automatic subscription is made for. What
    stands there is looked at inside the commit, where nobody else writes, so that of devices which
    act at once none undoes what another did. After the commit `is_changed` tells whether anything
    was, and `is_overruled` that the user has unsubscribed since the cause.
    """

    order: ClassVar[int] = 52

    user_nid: int
    room_nid: int
    root_id: str
    is_subscribed: bool
    cause_position: int | None = None
    is_changed: bool = False
    is_overruled: bool = False

    @classmethod
    async def store(
        cls, db: Database, placed: Sequence[tuple["SetThreadSubscription", int]]
    ) -> None:
        """Read what is there, decide in the order of the writes, and write what has changed."""
        known = await _find(db, {write.key for write, _ in placed})
        changed: dict[Key, ThreadSubscription] = {}
        for write, position in placed:
            write.decide(known.get(write.key))
            if write.is_changed:
                is_automatic = write.cause_position is not None
                new = ThreadSubscription(position, write.is_subscribed, is_automatic)
                known[write.key] = changed[write.key] = new
        if changed:
            columns = zip(*changed, strict=True)
            values = ((n.position, n.is_subscribed, n.is_automatic) for n in changed.values())
            await db.execute(UPSERT, *columns, *zip(*values, strict=True))

    @property
    def key(self) -> Key:
        """Whose subscription to what it is."""
        return self.room_nid, self.root_id, self.user_nid

    def decide(self, former: ThreadSubscription | None) -> None:
        """Find out whether anything changes."""
        self.is_overruled = False
        was_subscribed = former is not None and former.is_subscribed
        if not self.is_subscribed:
            self.is_changed = was_subscribed
        elif self.cause_position is None:
            self.is_changed = former is None or not was_subscribed or former.is_automatic
        else:
            self.is_overruled = (
                former is not None
                and not former.is_subscribed
                and former.position >= self.cause_position
            )
            self.is_changed = not was_subscribed and not self.is_overruled

    def changes(self, position: int) -> Sequence[ThreadSubscriptionSet]:
        """The user's devices hear of it, if there was anything to change."""
        if not self.is_changed:
            return ()
        return (ThreadSubscriptionSet(position, self.user_nid, self.room_nid, self.root_id),)


SELECT = """
    SELECT stream_position, is_subscribed, is_automatic
      FROM thread_subscriptions
     WHERE room_nid = $1 AND root_id = $2 AND user_nid = $3
"""


async def find_thread_subscription(
    db: Database, user_nid: int, room_nid: int, root_id: str
) -> ThreadSubscription | None:
    """How the user stands to a thread; None if they never subscribed to it."""
    row = await db.fetchrow(SELECT, room_nid, root_id, user_nid)
    return None if row is None else ThreadSubscription(*row)


SELECT_LATEST = """
    SELECT room_nid, root_id, stream_position, is_subscribed, is_automatic
      FROM thread_subscriptions
     WHERE user_nid = $1 AND stream_position > $2 AND stream_position <= $3
     ORDER BY stream_position DESC
     LIMIT $4
"""


async def latest_thread_subscriptions(
    db: Database, user_nid: int, since: int, upto: int, limit: int
) -> list[tuple[Thread, ThreadSubscription]]:
    """How the user stands to threads where that changed after `since`, the latest in front."""
    rows = await db.fetch(SELECT_LATEST, user_nid, since, upto, limit)
    return [((room, root), ThreadSubscription(*values)) for room, root, *values in rows]


SELECT_SUBSCRIBERS = """
    SELECT room_nid, root_id, user_nid
      FROM thread_subscriptions
      JOIN unnest($1::integer[], $2::text[]) AS asked (room_nid, root_id)
     USING (room_nid, root_id)
     WHERE is_subscribed
"""


async def subscribers_of(db: Database, threads: Iterable[Thread]) -> dict[Thread, set[int]]:
    """Who is subscribed to each of the threads, all in one query."""
    found: dict[Thread, set[int]] = {thread: set() for thread in threads}
    if found:
        for room, root, user in await db.fetch(SELECT_SUBSCRIBERS, *zip(*found, strict=True)):
            found[room, root].add(user)
    return found


SELECT_CHANGED = """
    SELECT stream_position, user_nid, room_nid, root_id
      FROM thread_subscriptions
     WHERE stream_position > $1 AND stream_position <= $2
     ORDER BY stream_position
"""


async def changed_thread_subscriptions(
    db: Database, since: int, upto: int
) -> list[ThreadSubscriptionSet]:
    """What all users changed after `since`, up to `upto`, in order."""
    return [ThreadSubscriptionSet(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


SELECT_KEYS = """
    SELECT room_nid, root_id, user_nid, stream_position, is_subscribed, is_automatic
      FROM thread_subscriptions
      JOIN unnest($1::integer[], $2::text[], $3::integer[]) AS asked (room_nid, root_id, user_nid)
     USING (room_nid, root_id, user_nid)
"""


async def _find(db: Database, keys: Iterable[Key]) -> dict[Key, ThreadSubscription]:
    rows = await db.fetch(SELECT_KEYS, *zip(*keys, strict=True))
    return {(room, root, user): ThreadSubscription(*values) for room, root, user, *values in rows}
