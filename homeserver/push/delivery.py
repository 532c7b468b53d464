"""Pushing: one outbox for each pusher that has something to push, one request at a time in each.

A pusher that fails is behind: its outbox is dropped, and the database knows up to where it has got
and when to go on. Then what its user has not read since is read back (`missed.py`). So nothing is
kept in memory for a gateway that is away, and what was read elsewhere meanwhile is not pushed.
Pushers by mail are always behind: they gather for a while by design (`digests.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from federation.protocol.errors import MatrixError
from federation.protocol.retry_schedule import PUSHER_RETRIES
from homeserver.clock import Clock
from homeserver.push.decisions import Notified
from homeserver.push.descriptions import Descriptions
from homeserver.push.gateway import GatewayFailed, Gateways, NotificationRefused
from homeserver.push.missed import Missed
from homeserver.push.notification import (
    Badge,
    Device,
    build_badge_notification,
    build_notification,
)
from homeserver.push.outbox import Outbox
from homeserver.push.ports import Digests
from homeserver.push.progress import Progress
from homeserver.push.pushers import HTTP
from homeserver.push.unread import Unread, UnreadOfUsers
from storage.database import Database, DatabaseUnavailable
from storage.names import Names
from storage.pushers import (
    ActivePusher,
    PusherKind,
    PusherProgress,
    delete_pusher_by_nid,
    due_pushers,
    next_due_ts,
    pushers_behind,
)

log = logging.getLogger("hearth.push")

SAVE_EVERY_S = 0.5
RETRY_S = 1.0
AT_ONCE = 100
LONGEST_WAIT_S = 60.0
SHORTEST_WAIT_S = 0.05


@dataclass(slots=True)
class PushTally:
    """What has become of notifications since the start; a gateway rejects a pusher for good."""

    sent: int = 0
    rejected: int = 0
    refused: int = 0
    failed: int = 0


class Delivery:
    """The outboxes of the process that pushes; `spread` gives random numbers from 0 to 1."""

    def __init__(
        self,
        db: Database,
        names: Names,
        clock: Clock,
        unread: UnreadOfUsers,
        missed: Missed,
        descriptions: Descriptions,
        gateways: Gateways,
        digests: Digests,
        spread: Callable[[], float],
        *,
        with_content: bool,
        counts_rooms: bool,
    ) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._unread = unread
        self._missed = missed
        self._descriptions = descriptions
        self._gateways = gateways
        self._digests = digests
        self._spread = spread
        self._with_content = with_content
        self._counts_rooms = counts_rooms
        self._progress = Progress(db)
        self._outboxes: dict[int, Outbox] = {}
        self._behind: set[int] = set()
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.tally = PushTally()

    @property
    def waiting(self) -> int:
        """The notifications that wait in memory."""
        return sum(len(outbox.items) for outbox in self._outboxes.values())

    @property
    def behind(self) -> int:
        """The pushers that have to catch up, or gather for a mail."""
        return len(self._behind)

    async def find_behind(self) -> None:
        """Find out which pushers are behind."""
        self._behind |= await pushers_behind(self._db)
        self._changed.set()

    async def run(self) -> None:
        """Push until cancelled; what waits stays in the outboxes then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._revive()

    def close(self) -> None:
        """Forget everything: another process may go on."""
        self._group = None
        self._outboxes.clear()
        self._behind.clear()
        self._progress.clear()

    def push(
        self, pushers: Iterable[PusherKind], notified: Mapping[int, Sequence[Notified]]
    ) -> None:
        """Events notify the users of these pushers."""
        for pusher in pushers:
            items = [
                item
                for item in notified.get(pusher.user_nid, ())
                if item.position > pusher.sent_upto
            ]
            if not items:
                continue
            if pusher.kind == HTTP or pusher.pusher_nid in self._outboxes:
                outbox = self._outbox(pusher)
                if outbox is not None:
                    outbox.add(items)
            elif pusher.pusher_nid not in self._behind:
                self._gather(pusher.pusher_nid, items[0].position)

    def update_badges(self, pushers: Iterable[PusherKind]) -> None:
        """The users of these pushers have read something."""
        for pusher in pushers:
            outbox = self._outbox(pusher) if pusher.kind == HTTP else None
            if outbox is not None:
                outbox.wants_badge = True

    def pushers_changed(self) -> None:
        """Somebody has set a pusher; it may be one that is behind."""
        self._changed.set()

    def done_upto(self, upto: int) -> int:
        """Up to where everything is pushed or known to the database as not pushed."""
        waiting = [
            outbox.first_position - 1
            for outbox in self._outboxes.values()
            if outbox.first_position is not None and not outbox.is_catching_up
        ]
        return min([upto, *waiting])

    @property
    def has_progress(self) -> bool:
        """Whether `save` has something to write."""
        return self._progress.noted.is_set()

    async def wait_for_progress(self) -> None:
        """Wait until `save` has something to write."""
        await self._progress.noted.wait()

    async def save(self) -> None:
        """Write down how far pushers have got."""
        await self._progress.save()

    def _outbox(self, pusher: PusherKind) -> Outbox | None:
        """The pusher's outbox; None for one that is behind and not due yet."""
        outbox = self._outboxes.get(pusher.pusher_nid)
        if outbox is None and pusher.pusher_nid not in self._behind:
            outbox = self._begin(Outbox(pusher.pusher_nid, pusher.user_nid))
        return outbox

    def _begin(self, outbox: Outbox) -> Outbox:
        self._outboxes[outbox.pusher_nid] = outbox
        if self._group is not None:
            self._group.create_task(self._work(outbox), name=f"pusher {outbox.pusher_nid}")
        return outbox

    def _gather(self, pusher_nid: int, position: int) -> None:
        """Something is to be told by mail, later."""
        self._behind.add(pusher_nid)
        due_ts = self._clock() + self._digests.delay_ms
        self._progress.note(pusher_nid, PusherProgress(position - 1, 0, 0, due_ts))
        self._changed.set()

    async def _revive(self) -> None:
        """Let pushers that are behind go on when they are due."""
        while True:
            self._changed.clear()
            wait_s = await self._revive_due()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _revive_due(self) -> float | None:
        """Let those go on that are due; for how many seconds nothing more will be."""
        if not self._behind:
            return None
        try:
            await self._progress.save()
            for pusher in await due_pushers(self._db, self._clock(), AT_ONCE, self._outboxes):
                self._begin(Outbox(pusher.pusher_nid, pusher.user_nid, is_catching_up=True))
            due_ts = await next_due_ts(self._db, self._outboxes)
        except MatrixError as error:
            log.warning("Pushers that are behind have to wait: %s", error)
            return RETRY_S
        if due_ts is None:
            return LONGEST_WAIT_S
        return min(max((due_ts - self._clock()) / 1000, SHORTEST_WAIT_S), LONGEST_WAIT_S)

    async def _work(self, outbox: Outbox) -> None:
        """Push what is in an outbox, until it is empty or the pusher fails."""
        while not await self._try_to_advance(outbox):
            pass
        del self._outboxes[outbox.pusher_nid]
        self._changed.set()

    async def _try_to_advance(self, outbox: Outbox) -> bool:
        """Take one step; whether it was the last one."""
        try:
            pusher = await self._progress.find(outbox.pusher_nid)
            if pusher is None:
                self._forget(outbox.pusher_nid)
                return True
            return await self._step(outbox, pusher)
        except DatabaseUnavailable as error:
            log.warning("A pusher has to wait: %s", error)
            self._return_item(outbox)
            await asyncio.sleep(RETRY_S)
        return False

    async def _step(self, outbox: Outbox, pusher: ActivePusher) -> bool:
        """Push one thing; whether that was all, for now."""
        try:
            if pusher.kind != HTTP:
                await self._send_digest(outbox, pusher)
                return True
            return await self._advance(outbox, pusher)
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("Pusher %d could not push", outbox.pusher_nid)
            self._skip(outbox, pusher)
            return True

    async def _advance(self, outbox: Outbox, pusher: ActivePusher) -> bool:
        if not outbox.has_read_back:
            outbox.add(await self._missed.of(pusher))
            outbox.has_read_back = outbox.wants_badge = True
        unread = await self._unread.of(pusher.user_nid, pusher.user_id)
        try:
            if outbox.items:
                await self._push_next(outbox, pusher, unread)
            else:
                await self._push_badge(outbox, pusher, unread)
        except GatewayFailed as failure:
            self._put_off(outbox, pusher, failure)
            return True
        return outbox.is_empty

    async def _push_next(self, outbox: Outbox, pusher: ActivePusher, unread: Unread) -> None:
        item = outbox.sending = outbox.items.popleft()
        told, upto = pusher.progress.told_unread, pusher.progress.sent_upto
        if item.position > upto and is_of_interest(item, unread):
            badge = self._badge(unread)
            if not await self._notify(pusher, await self._describe(item, pusher, badge)):
                outbox.items.clear()
                outbox.wants_badge = False
                outbox.sending = None
                return
            told = badge.unread
        outbox.sending = None
        self._advanced(outbox, pusher, max(item.position, upto), told)

    async def _push_badge(self, outbox: Outbox, pusher: ActivePusher, unread: Unread) -> None:
        """Tell the counts, if they are others than were told last."""
        outbox.wants_badge = False
        badge, device = self._badge(unread), device_of(pusher)
        told = pusher.progress.told_unread
        if badge.unread != told and device.wants_badge:
            if not await self._notify(pusher, build_badge_notification(device, badge)):
                return
            told = badge.unread
        self._advanced(outbox, pusher, pusher.progress.sent_upto, told)

    async def _describe(
        self, item: Notified, pusher: ActivePusher, badge: Badge
    ) -> Mapping[str, object]:
        room = await self._names.rooms.get(item.event.room_nid)
        return build_notification(
            device_of(pusher),
            item.event,
            item.decision,
            badge,
            user_id=pusher.user_id,
            room_id=room.room_id,
            description=await self._descriptions.of(item.event),
            with_content=self._with_content,
        )

    async def _notify(self, pusher: ActivePusher, body: Mapping[str, object]) -> bool:
        """Make the request; False if the gateway rejects the pusher, which is then removed.

        Raises `GatewayFailed`.
        """
        try:
            rejected = await self._gateways.notify(url_of(pusher), pusher.user_id, body)
        except NotificationRefused as error:
            log.info("A push gateway refuses a notification of %s: %s", pusher.user_id, error)
            self.tally.refused += 1
            return True
        if pusher.pushkey not in rejected:
            self.tally.sent += 1
            return True
        self.tally.rejected += 1
        log.info("A push gateway rejects a pusher of %s, which is removed", pusher.user_id)
        await delete_pusher_by_nid(self._db, pusher.pusher_nid)
        self._forget(pusher.pusher_nid)
        return False

    def _advanced(self, outbox: Outbox, pusher: ActivePusher, upto: int, told: int) -> None:
        """Note what was done; a pusher that was behind is so until everything is."""
        is_behind = outbox.is_catching_up and not outbox.is_empty
        due_ts = pusher.progress.due_ts if is_behind else None
        self._progress.note(pusher.pusher_nid, PusherProgress(upto, told, 0, due_ts))
        if not is_behind:
            outbox.is_catching_up = False
            self._behind.discard(pusher.pusher_nid)

    def _put_off(self, outbox: Outbox, pusher: ActivePusher, failure: GatewayFailed) -> None:
        """Let a pusher whose gateway has failed wait."""
        self._return_item(outbox)
        self.tally.failed += 1
        progress, first = pusher.progress, outbox.first_position
        failures = progress.failures + 1
        delay_ms = max(PUSHER_RETRIES.delay_ms(failures, self._spread()), failure.retry_after_ms)
        # What came before was done; it must not come again when rules have changed meanwhile.
        upto = progress.sent_upto if first is None else max(progress.sent_upto, first - 1)
        due_ts = self._clock() + delay_ms
        self._behind.add(pusher.pusher_nid)
        self._progress.note(
            pusher.pusher_nid, PusherProgress(upto, progress.told_unread, failures, due_ts)
        )
        log.info(
            "A push gateway of %s fails (%s), tried again in %d s",
            pusher.user_id,
            failure,
            delay_ms // 1000,
        )

    def _skip(self, outbox: Outbox, pusher: ActivePusher) -> None:
        """Leave out what cannot be pushed, and let its pusher wait: the next may be like it."""
        skipped, outbox.sending = outbox.sending, None
        if skipped is not None:
            upto = max(pusher.progress.sent_upto, skipped.position)
            pusher = pusher.with_progress(replace(pusher.progress, sent_upto=upto))
        self._put_off(outbox, pusher, GatewayFailed("an error of this server"))

    async def _send_digest(self, outbox: Outbox, pusher: ActivePusher) -> None:
        """Mail what has gathered; what came meanwhile begins to gather anew."""
        progress = await self._digests.send(pusher)
        self._progress.note(pusher.pusher_nid, progress)
        if progress.due_ts is not None:
            return
        self._behind.discard(pusher.pusher_nid)
        later = [item.position for item in outbox.items if item.position > progress.sent_upto]
        if later:
            self._gather(pusher.pusher_nid, later[0])

    def _forget(self, pusher_nid: int) -> None:
        self._progress.forget(pusher_nid)
        self._behind.discard(pusher_nid)

    @staticmethod
    def _return_item(outbox: Outbox) -> None:
        """What could not be sent comes first the next time."""
        if outbox.sending is not None:
            outbox.items.appendleft(outbox.sending)
            outbox.sending = None

    def _badge(self, unread: Unread) -> Badge:
        count = len(unread.rooms) if self._counts_rooms else unread.messages
        return Badge(count, unread.missed_calls)


def is_of_interest(item: Notified, unread: Unread) -> bool:
    """Whether the user has still to hear of it: it is an invite, or it is not read."""
    if item.event.type == "m.room.member" and item.event.state_key == item.user_id:
        return True
    return unread.has(item.event.room_nid, item.position)


def device_of(pusher: ActivePusher) -> Device:
    """Where the pusher's notifications go to."""
    data = orjson.loads(pusher.json)["data"]
    return Device(pusher.app_id, pusher.pushkey, pusher.set_ts, data)


def url_of(pusher: ActivePusher) -> str:
    """The gateway of a pusher."""
    return str(orjson.loads(pusher.json)["data"]["url"])
