"""Presence: keeping track of who is online, idle or gone, and telling it sparingly.

A user is as present as the most present of the devices that sync or that have set a presence
lately. The time of the last activity moves in memory with each action; others are told only when
something else changes: that the user comes, falls silent, falls idle, acts again, or goes.

Each process answers for the users whose devices talk to it. When it starts it also answers for
those whom a former process may have left present; if another process knows better, that one says
so again. A user with devices at two processes is shown as the one says that spoke last.
Source: client-server API, "Presence"; `set_presence` of /sync.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from federation.protocol.edu import PresenceUpdate
from federation.protocol.errors import Forbidden, InvalidParam
from homeserver.clock import Clock
from storage.changes import Change, EventAdded, PresenceSet
from storage.committer import Committer
from storage.database import Database
from storage.memberships import shares_room, users_sharing_rooms
from storage.names import Names
from storage.presence import SetPresence, presence_of, remote_users_present, users_present

log = logging.getLogger("hearth.presence")

ONLINE = "online"
UNAVAILABLE = "unavailable"
OFFLINE = "offline"
STATES = frozenset({ONLINE, UNAVAILABLE, OFFLINE})

GONE_AFTER_MS = 30_000
"""A device that stopped syncing is taken for a slow one for so long."""
SILENT_AFTER_MS = 60_000
"""Somebody who did nothing for so long is not `currently_active`."""
IDLE_AFTER_MS = 5 * 60_000
"""Somebody who did nothing for so long is `unavailable`."""
UNHEARD_AFTER_MS = 30 * 60_000
"""Users of a server that has not told of them for so long are taken for gone."""

CHECK_EVERY_S = 5
MAX_STATUS_LENGTH = 2_000
FORMER_DEVICE = -1
"""Stands for the devices of users whom a former process has left present."""


@dataclass(slots=True)
class DevicePresence:
    """What a device wants shown, how many syncs of it are under way, and when it was last heard."""

    presence: str
    syncs: int
    heard_ts: int


@dataclass(slots=True)
class Present:
    """A user of this server who is not offline."""

    user_id: str
    status_msg: str | None
    last_active_ts: int
    is_idle: bool = False
    devices: dict[int, DevicePresence] = field(default_factory=dict)
    told: tuple[str, str | None, bool] | None = None
    """Presence, status and activity as others know them."""

    def presence(self) -> str:
        """The presence of the most present device; an idle user is never online."""
        wanted = {device.presence for device in self.devices.values()}
        if not wanted:
            return OFFLINE
        return ONLINE if ONLINE in wanted and not self.is_idle else UNAVAILABLE


@dataclass(slots=True)
class RemotePresent:
    """A user of another server who is not offline, as that server told at `heard_ts`."""

    user_id: str
    told: tuple[str, str | None, bool]
    last_active_ts: int
    heard_ts: int


class Presence:
    """Everybody's presence."""

    def __init__(
        self, db: Database, names: Names, committer: Committer, clock: Clock, *, enabled: bool
    ) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._clock = clock
        self._enabled = enabled
        self._present: dict[int, Present] = {}
        self._remote: dict[int, RemotePresent] = {}
        """Users of other servers, those last heard of at the end."""

    @asynccontextmanager
    async def syncing(
        self, user_id: str, user_nid: int, device_nid: int, set_presence: str = ONLINE
    ) -> AsyncIterator[None]:
        """The user's device syncs for as long as the block runs.

        `offline` leaves the user's presence as it is. Where it changes, that is waited for: the
        sync that follows should not be woken by it.
        """
        if not self._enabled or set_presence == OFFLINE:
            yield
            return
        user = await self._find_or_load(user_id, user_nid)
        device = self._hear(user, device_nid, set_presence)
        device.syncs += 1
        try:
            told = self._tell(user_nid, user)
            if told is not None:
                await asyncio.wait((told,))
            yield
        finally:
            device.syncs -= 1
            device.heard_ts = self._clock()

    def note_activity(self, user_nid: int) -> None:
        """The user did something: read something, typed, sent an event."""
        user = self._present.get(user_nid)
        if user is None:
            return
        user.last_active_ts = self._clock()
        user.is_idle = False
        for device in user.devices.values():
            device.presence = ONLINE
        self._tell(user_nid, user)

    async def set_status(
        self,
        user_id: str,
        user_nid: int,
        device_nid: int,
        presence: str,
        status_msg: str | None,
    ) -> None:
        """Set what a user says of themselves. Raises `InvalidParam`."""
        if presence not in STATES:
            raise InvalidParam("'presence' must be online, offline or unavailable")
        if status_msg is not None and len(status_msg) > MAX_STATUS_LENGTH:
            raise InvalidParam(f"A status may have at most {MAX_STATUS_LENGTH} characters")
        if not self._enabled:
            return
        user = await self._find_or_load(user_id, user_nid)
        user.status_msg = status_msg
        user.last_active_ts = self._clock()
        user.is_idle = False
        if presence == OFFLINE:
            user.devices.clear()
        else:
            self._hear(user, device_nid, presence)
        done = self._tell(user_nid, user)
        if done is not None:
            await asyncio.shield(done)

    async def status(self, viewer_nid: int, user_id: str) -> dict[str, Any]:
        """The presence of a user as the viewer may see it. Raises `Forbidden`."""
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is None or not (
            user_nid == viewer_nid or await shares_room(self._db, viewer_nid, user_nid)
        ):
            raise Forbidden("You are not allowed to see their presence")
        return render_presence(await self._current(user_nid, user_id), self._clock())

    async def take(self, updates: Sequence[PresenceUpdate]) -> None:
        """Show users of another server as that server tells; only those who share a room with us.

        What is said again is taken note of, but nobody here is told.
        """
        if not self._enabled:
            return
        known = await self._names.users.find_nids({update.user_id for update in updates})
        sharing = await users_sharing_rooms(self._db, known.values()) if known else set()
        now = self._clock()
        writes = []
        for update in updates:
            user_nid = known.get(update.user_id)
            if user_nid not in sharing or user_nid is None:
                continue
            is_active = update.presence == ONLINE and update.is_currently_active
            told = (update.presence, update.status_msg, is_active)
            former = self._remote.pop(user_nid, None)
            user = RemotePresent(update.user_id, told, now - update.last_active_ago_ms, now)
            if update.presence != OFFLINE:
                self._remote[user_nid] = user
            if former is None or former.told != told:
                writes.append(remote_write(user_nid, user))
        if writes:
            await self._committer.commit(*writes)

    async def adopt(self) -> None:
        """Answer for the users whom a former process has left present: gone soon if none syncs."""
        for row in await users_present(self._db):
            if row.user_nid not in self._present:
                user = Present(row.user_id, row.status_msg, row.last_active_ts)
                user.told = (row.presence, row.status_msg, row.currently_active)
                user.is_idle = row.presence != ONLINE
                user.devices[FORMER_DEVICE] = DevicePresence(row.presence, 0, self._clock())
                self._present[row.user_nid] = user
        for row in await remote_users_present(self._db):
            told = (row.presence, row.status_msg, row.currently_active)
            remote = RemotePresent(row.user_id, told, row.last_active_ts, self._clock())
            self._remote.setdefault(row.user_nid, remote)

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of what this process or another one committed.

        Sending an event is an activity. Another process may take a user of ours for gone.
        """
        for change in changes:
            if own and isinstance(change, EventAdded):
                self.note_activity(change.event.sender_nid)
            elif not own and isinstance(change, PresenceSet) and change.presence == OFFLINE:
                user = self._present.get(change.user_nid)
                if user is not None:
                    user.told = None

    async def run(self) -> None:
        """Notice who falls silent or goes, until cancelled."""
        if self._enabled:
            await self.adopt()
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            self.check()

    def check(self) -> None:
        """Tell of those who have fallen silent or idle or have gone by now."""
        now = self._clock()
        for user_nid, user in list(self._present.items()):
            for device_nid, device in list(user.devices.items()):
                if not device.syncs and now - device.heard_ts > GONE_AFTER_MS:
                    del user.devices[device_nid]
            if now - user.last_active_ts > IDLE_AFTER_MS:
                user.is_idle = True
            self._tell(user_nid, user)
        self._forget_unheard(now)

    def _forget_unheard(self, now: int) -> None:
        """Show users of other servers as offline whose servers have told nothing for long."""
        for user_nid, user in list(self._remote.items()):
            if now - user.heard_ts <= UNHEARD_AFTER_MS:
                break
            del self._remote[user_nid]
            user.told = (OFFLINE, user.told[1], False)
            self._committer.submit(remote_write(user_nid, user)).add_done_callback(log_failure)

    async def _find_or_load(self, user_id: str, user_nid: int) -> Present:
        user = self._present.get(user_nid)
        if user is not None:
            return user
        rows = await presence_of(self._db, [user_nid])
        user = self._present.get(user_nid)
        if user is None:
            user = Present(user_id, rows[0].status_msg if rows else None, self._clock())
            self._present[user_nid] = user
        return user

    def _hear(self, user: Present, device_nid: int, presence: str) -> DevicePresence:
        """Note what a device wants shown."""
        now = self._clock()
        user.devices.pop(FORMER_DEVICE, None)
        device = user.devices.get(device_nid)
        if presence == ONLINE and (device is None or device.presence != ONLINE):
            # The client says that somebody is back.
            user.last_active_ts = now
            user.is_idle = False
        if device is None:
            device = user.devices[device_nid] = DevicePresence(presence, 0, now)
        device.presence = presence
        device.heard_ts = now
        return device

    def _to_tell(self, user: Present) -> tuple[str, str | None, bool]:
        presence = user.presence()
        is_active = presence == ONLINE and self._clock() - user.last_active_ts <= SILENT_AFTER_MS
        return presence, user.status_msg, is_active

    def _tell(self, user_nid: int, user: Present) -> "asyncio.Future[int] | None":
        """Have the user's presence written if others know another; forget those who are gone."""
        telling = self._to_tell(user)
        if not user.devices:
            self._present.pop(user_nid, None)
        if telling == user.told:
            return None
        user.told = telling
        presence, status_msg, is_active = telling
        done = self._committer.submit(
            SetPresence(
                user_nid, user.user_id, presence, status_msg, user.last_active_ts, is_active
            )
        )
        done.add_done_callback(log_failure)
        return done

    async def _current(self, user_nid: int, user_id: str) -> PresenceSet:
        user = self._present.get(user_nid)
        if user is not None:
            presence, status_msg, is_active = self._to_tell(user)
            return PresenceSet(
                0, user_nid, user_id, presence, status_msg, user.last_active_ts, is_active
            )
        remote = self._remote.get(user_nid)
        if remote is not None:
            told, last_active_ts = remote.told, remote.last_active_ts
            return PresenceSet(0, user_nid, user_id, told[0], told[1], last_active_ts, told[2])
        rows = await presence_of(self._db, [user_nid]) if self._enabled else []
        return rows[0] if rows else PresenceSet(0, user_nid, user_id, OFFLINE, None, 0, False)


def remote_write(user_nid: int, user: RemotePresent) -> SetPresence:
    """What is stored of a user of another server."""
    presence, status_msg, is_active = user.told
    return SetPresence(user_nid, user.user_id, presence, status_msg, user.last_active_ts, is_active)


def render_presence(row: PresenceSet, now: int) -> dict[str, Any]:
    """The content of an `m.presence` event, which is what the endpoint answers too."""
    shown: dict[str, Any] = {"presence": row.presence}
    if row.last_active_ts:
        shown["last_active_ago"] = max(0, now - row.last_active_ts)
    if row.status_msg is not None:
        shown["status_msg"] = row.status_msg
    if row.presence == ONLINE:
        shown["currently_active"] = row.currently_active
    return shown


def log_failure(done: "asyncio.Future[int]") -> None:
    """Say that presence was not written; it will be with its next change."""
    if not done.cancelled() and done.exception() is not None:
        log.warning("Presence was not written: %s", done.exception())
