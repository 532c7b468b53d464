"""Subscribing to threads, unsubscribing, and telling a user's devices how the user stands to them.

Source: MSC4306; MSC4308 for the pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from federation.protocol.errors import MatrixError, NotFound
from homeserver.rooms.history import History
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.committer import Committer
from storage.database import Database
from storage.names import Names
from storage.thread_subscriptions import (
    SetThreadSubscription,
    Thread,
    ThreadSubscription,
    find_thread_subscription,
    latest_thread_subscriptions,
)

THREAD = "m.thread"


class NotInThread(MatrixError):
    """The event that a client names as the cause of a subscription is not in the thread."""

    errcode = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"

    def __init__(self) -> None:
        super().__init__("The event is not in the thread")


class ConflictingUnsubscription(MatrixError):
    """The user has unsubscribed since the event that a client wants to subscribe for."""

    status: ClassVar[int] = 409
    errcode = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"

    def __init__(self) -> None:
        super().__init__("The user has unsubscribed from the thread since that event")


@dataclass(frozen=True, slots=True)
class SubscriptionsPage:
    """How a user stands to threads, the latest changes in front.

    `end` is the position up to which there is more; None where there is not.
    """

    threads: Sequence[tuple[Thread, ThreadSubscription]] = ()
    end: int | None = None

    @property
    def room_nids(self) -> set[int]:
        """The rooms that the threads are in."""
        return {room_nid for (room_nid, _), _ in self.threads}

    def body(self, ids: Mapping[int, str]) -> dict[str, Any]:
        """`subscribed` and `unsubscribed` as clients see them, with the IDs of rooms."""
        body: dict[str, Any] = {}
        for (room_nid, root_id), subscription in self.threads:
            shown: dict[str, Any] = {"bump_stamp": subscription.position}
            if subscription.is_subscribed:
                shown["automatic"] = subscription.is_automatic
            key = "subscribed" if subscription.is_subscribed else "unsubscribed"
            body.setdefault(key, {}).setdefault(ids[room_nid], {})[root_id] = shown
        return body


class ThreadSubscriptions:
    """Keeps users' subscriptions."""

    def __init__(self, db: Database, names: Names, committer: Committer, history: History) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._history = history

    async def find(self, viewer: Viewer, room_id: str, root_id: str) -> ThreadSubscription:
        """The user's subscription to a thread.

        Raises `NotFound` where there is none, or no such thread that the user may see.
        """
        root = await self._see(viewer, room_id, root_id)
        found = await find_thread_subscription(self._db, viewer.user_nid, root.room_nid, root_id)
        if found is None or not found.is_subscribed:
            raise NotFound("You are not subscribed to this thread")
        return found

    async def subscribe(
        self, viewer: Viewer, room_id: str, root_id: str, cause_id: str | None
    ) -> None:
        """Subscribe the user to a thread, by their own will or because of the event `cause_id`.

        Raises `NotFound`, `NotInThread`, `ConflictingUnsubscription`.
        """
        root = await self._see(viewer, room_id, root_id)
        cause_position = None
        if cause_id is not None:
            cause = await self._see(viewer, room_id, cause_id)
            if not is_in_thread(cause, root_id):
                raise NotInThread
            cause_position = cause.position or 0
        write = SetThreadSubscription(viewer.user_nid, root.room_nid, root_id, True, cause_position)
        await self._committer.commit(write)
        if write.is_overruled:
            raise ConflictingUnsubscription

    async def unsubscribe(self, viewer: Viewer, room_id: str, root_id: str) -> None:
        """End the user's subscription to a thread, if there is one. Raises `NotFound`."""
        root = await self._see(viewer, room_id, root_id)
        await self._committer.commit(
            SetThreadSubscription(viewer.user_nid, root.room_nid, root_id, False)
        )

    async def latest(self, user_nid: int, since: int, upto: int, limit: int) -> SubscriptionsPage:
        """What changed after `since`, up to `upto`: the latest at most `limit` of it."""
        found = await latest_thread_subscriptions(self._db, user_nid, since, upto, limit + 1)
        threads = found[:limit]
        end = threads[-1][1].position - 1 if len(found) > limit else None
        return SubscriptionsPage(threads, end)

    async def page(self, user_nid: int, since: int, upto: int, limit: int) -> dict[str, Any]:
        """The same as the response has it, with a token for the page before."""
        page = await self.latest(user_nid, since, upto, limit)
        rooms = await self._names.rooms.get_many(page.room_nids)
        body = page.body({nid: room.room_id for nid, room in rooms.items()})
        return body if page.end is None else {**body, "end": str(page.end)}

    async def _see(self, viewer: Viewer, room_id: str, event_id: str) -> StoredEvent:
        return (await self._history.find(viewer, room_id, event_id)).event


def is_in_thread(event: StoredEvent, root_id: str) -> bool:
    """Whether an event is in the thread of a root; the root itself is not."""
    relation = event.content.get("m.relates_to")
    return (
        isinstance(relation, Mapping)
        and relation.get("rel_type") == THREAD
        and relation.get("event_id") == root_id
    )
