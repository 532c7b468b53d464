"""Pushing as a part of the server: in one process at a time, following the stream.

What is committed is looked at once for all pushers. A position says up to where that was done and
pushed; what comes after it is looked at again when another process takes over, or this one after
a crash. While nobody has a pusher, a commit costs nothing here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence

from federation.protocol.errors import MatrixError
from homeserver.duty import Duty
from homeserver.push.decisions import Decisions, Notified
from homeserver.push.delivery import RETRY_S, SAVE_EVERY_S, Delivery
from homeserver.push.reach import Reach
from homeserver.push.rules import PUSH_RULES
from homeserver.push.unread import UnreadOfUsers
from storage.changes import (
    AccountDataSet,
    Change,
    EventAdded,
    InviteChanged,
    Membership,
    ReceiptMoved,
    Standing,
    StoredEvent,
    ThreadSubscriptionSet,
)
from storage.database import Database
from storage.events import COLUMNS, event_of_row
from storage.feed import read_changes
from storage.names import Names
from storage.pushers import pushers_of_users
from storage.stream import Stream

log = logging.getLogger("hearth.push")

MOST_WAITING = 2_000
"""Changes that wait to be looked at; if more do, they are read back instead."""
SAVE_IDLE_S = 10.0
"""How often the position is written while nothing is pushed."""
PAGE = 1_000
"""Stream positions that are read back at once."""

SELECT_INVITES = f"""
    SELECT m.user_nid, m.stream_position, {COLUMNS}
      FROM unnest($1::integer[], $2::integer[]) AS changed (user_nid, room_nid)
      JOIN memberships AS m USING (user_nid, room_nid)
      JOIN events AS e USING (event_nid)
     WHERE m.membership = 2
"""  # noqa: S608 - constants of ours

Audience = tuple[StoredEvent, int, Sequence[int]]
"""An event, its position, and the numbers of those who may hear of it."""


class Pushing:
    """Runs the delivery while the duty is this process's."""

    def __init__(
        self,
        db: Database,
        names: Names,
        stream: Stream,
        reach: Reach,
        decisions: Decisions,
        unread: UnreadOfUsers,
        delivery: Delivery,
        server_name: str,
        duty: Duty,
    ) -> None:
        self._db = db
        self._names = names
        self._stream = stream
        self._reach = reach
        self._decisions = decisions
        self._unread = unread
        self.delivery = delivery
        self._server_name = server_name
        self._duty = duty
        self._is_running = False
        self._replaced = asyncio.Event()
        self._news = asyncio.Event()
        self._changes: list[Change] = []
        self._heard_upto = 0
        self._has_lost = False
        self._done_upto = 0
        """Up to where changes were looked at."""

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of what was committed; a listener of the stream."""
        del own
        if not self._is_running or not changes:
            return
        self._heard_upto = max(self._heard_upto, changes[-1].position)
        self._reach.heard(changes)
        if self._reach.reaches_anybody():
            self._changes += [change for change in changes if self._matters(change)]
            if len(self._changes) > MOST_WAITING:
                self._changes.clear()
                self._has_lost = True
        self._news.set()

    def pusher_set(self, user_nid: int) -> None:
        """Somebody has set or removed a pusher, here or in another process."""
        self._reach.pusher_set(user_nid)
        self.delivery.pushers_changed()

    def hear(self, message: str) -> None:
        """Another process says so."""
        self.pusher_set(int(message))

    def missed_messages(self) -> None:
        """Other processes may have said so; what there is is found out anew."""
        self._has_lost = True
        self._news.set()

    async def run(self) -> None:
        """Push whenever no other process does, until cancelled."""
        await self._duty.hold(self._push_from)

    async def _push_from(self, position: int) -> None:
        """Push for everything after a position, until another process takes over."""
        self._replaced.clear()
        self._changes.clear()
        self._done_upto = position
        self._heard_upto = self._stream.position
        self._has_lost = True
        self._is_running = True
        self._news.set()
        try:
            await self._work()
        finally:
            self._is_running = False
            self._unread.forget_all()
            with contextlib.suppress(MatrixError):
                await self._save()
            self.delivery.close()

    async def _work(self) -> None:
        tasks = [
            asyncio.create_task(work)
            for work in (
                self.delivery.run(),
                self._follow(),
                self._keep_saving(),
                self._replaced.wait(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_saving(self) -> None:
        saved_upto = self._done_upto
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_IDLE_S):
                    await self.delivery.wait_for_progress()
            try:
                if self.delivery.has_progress or self._done_upto > saved_upto:
                    saved_upto = await self._save()
            except MatrixError as error:
                log.warning("What was pushed cannot be noted just now: %s", error)
            await asyncio.sleep(SAVE_EVERY_S)

    async def _save(self) -> int:
        """Note what was pushed, then up to where all is."""
        upto = self.delivery.done_upto(self._done_upto)
        await self.delivery.save()
        if not await self._duty.note_done(upto):
            self._replaced.set()
        return upto

    async def _follow(self) -> None:
        """Look at what is committed, in order."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._look_at_news()
            except MatrixError as error:
                log.warning("Pushes have to wait: %s", error)
                self._has_lost = True
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def _look_at_news(self) -> None:
        upto, changes, self._changes = self._heard_upto, self._changes, []
        if self._has_lost:
            self._has_lost = False
            await self._begin_anew(upto)
        # What was committed as this began may have been read back and heard as well.
        await self._look_at([change for change in changes if change.position > self._done_upto])
        self._done_upto = max(self._done_upto, upto)

    async def _begin_anew(self, upto: int) -> None:
        """Read what was not looked at from the database."""
        self._unread.forget_all()
        await self._reach.load()
        await self.delivery.find_behind()
        while self._reach.reaches_anybody() and self._done_upto < upto:
            end = min(self._done_upto + PAGE, upto)
            changes = await read_changes(
                self._db, self._names, self._server_name, self._done_upto, end
            )
            await self._look_at([change for change in changes if self._matters(change)])
            self._done_upto = end

    async def _look_at(self, changes: Sequence[Change]) -> None:
        added = [change for change in changes if isinstance(change, EventAdded)]
        receipts = [change for change in changes if isinstance(change, ReceiptMoved)]
        audiences = await self._audiences(added)
        audiences += await self._invited([c for c in changes if isinstance(c, InviteChanged)])
        notified = await self._decisions.notified(audiences) if audiences else []
        self._unread.forget(outdated(changes))
        self._unread.added(notified)
        self._unread.read(receipts)
        by_user: dict[int, list[Notified]] = {}
        for one in notified:
            by_user.setdefault(one.user_nid, []).append(one)
        readers = {receipt.user_nid for receipt in receipts}
        if by_user or readers:
            pushers = await pushers_of_users(self._db, by_user.keys() | readers)
            self.delivery.push(pushers, by_user)
            self.delivery.update_badges(one for one in pushers if one.user_nid in readers)

    async def _audiences(self, added: Sequence[EventAdded]) -> list[Audience]:
        """The events with those who may be pushed to: members, and who is invited."""
        members = await self._reach.members({change.event.room_nid for change in added})
        audiences: list[Audience] = []
        for change in added:
            nids = members[change.event.room_nid]
            is_invite = change.membership is Membership.INVITE
            if is_invite and self._reach.reaches(change.member_nid) and change.member_nid:
                nids = (*nids, change.member_nid)
            if nids:
                audiences.append((change.event, change.position, nids))
        return audiences

    async def _invited(self, changes: Iterable[InviteChanged]) -> list[Audience]:
        """Invites to rooms that are held elsewhere."""
        pairs = [(one.user_nid, one.room_nid) for one in changes]
        if not pairs:
            return []
        rows = await self._db.fetch(SELECT_INVITES, *map(list, zip(*pairs, strict=True)))
        return [
            (event_of_row(columns), position, (user_nid,)) for user_nid, position, *columns in rows
        ]

    def _matters(self, change: Change) -> bool:
        """Whether a change may be pushed or changes what is unread."""
        if isinstance(change, EventAdded):
            return change.event.standing == Standing.ACCEPTED
        if isinstance(change, ReceiptMoved | InviteChanged | ThreadSubscriptionSet):
            return self._reach.reaches(change.user_nid)
        if isinstance(change, AccountDataSet):
            return change.type == PUSH_RULES and self._reach.reaches(change.user_nid)
        return False


def outdated(changes: Iterable[Change]) -> set[int]:
    """The users of whom what is unread has to be worked out anew: rules, rooms, threads changed."""
    users = {
        change.user_nid
        for change in changes
        if isinstance(change, AccountDataSet | ThreadSubscriptionSet)
    }
    return users | {
        change.member_nid
        for change in changes
        if isinstance(change, EventAdded) and change.is_local_member and change.member_nid
    }
