"""Finding out who has to hear of what the stream brings, and handing it to the sender.

Only changes of our own users concern other servers: their events, receipts, presence and typing,
and events of others that came in by way of this server. What was not handed over when a former
process ended is read back first; of receipts, presence and typing nobody hears again.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from federation.outbound.queue_ports import OutgoingPdu
from federation.protocol.edu import READ, PresenceUpdate, Receipt, Typist
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import EventId, ServerName, UserId, server_of
from homeserver.clock import Clock
from homeserver.other_servers.backlog import outgoing_pdu, position_of
from homeserver.other_servers.room_servers import RoomServers
from storage.changes import (
    Change,
    EdusQueued,
    EventAdded,
    EventRelayed,
    Membership,
    PresenceSet,
    ReceiptMoved,
    StoredEvent,
)
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.outgoing import changed_outgoing, own_events_between
from storage.participants import joined_rooms_of
from storage.presence import present_members, users_present
from storage.stream import Stream

log = logging.getLogger("hearth.distribution")

PAGE = 200
"""Events that are read back at once."""
MOST_WAITING = 5_000
"""Changes that wait here; if more come, the events among them are read back instead."""
RETRY_S = 2.0
TYPING_AGAIN_S = 25.0
"""How often others are told that somebody still types: they forget it within a minute or less."""
PRESENCE_AGAIN_S = 25 * 60.0
"""How often others are told that somebody is still present: they forget it after half an hour."""


class Sender(Protocol):
    """Sends to other servers."""

    def distribute(
        self, pdus: Iterable[tuple[OutgoingPdu, Iterable[ServerName]]], position: int
    ) -> None:
        """Hand over the events of the next stretch of the stream, which ends at `position`."""

    def edus_queued(self, destinations: Iterable[ServerName]) -> None:
        """EDUs for these destinations were stored."""

    def send_typing(self, destinations: Iterable[ServerName], typist: Typist) -> None:
        """Tell that somebody types or has stopped."""

    def send_receipt(self, destinations: Iterable[ServerName], receipt: Receipt) -> None:
        """Tell what somebody has read."""

    def send_presence(self, destinations: Iterable[ServerName], update: PresenceUpdate) -> None:
        """Tell how present somebody is."""


class Typing(Protocol):
    """Who types."""

    def users_typing(self, room_nid: int) -> list[str]:
        """Who types in a room."""


class Introducing(Protocol):
    """Tells of users who come into rooms."""

    async def introduce(self, joins: Sequence[StoredEvent]) -> None:
        """Users of ours have come into rooms; their profiles may have changed only."""


class Greeting(Protocol):
    """Tells servers that come into rooms what they have missed."""

    def greet(self, joins: Sequence[EventAdded]) -> None:
        """Users have come into rooms."""

    async def run(self) -> None:
        """Greet, until cancelled."""


class Distribution:
    """Hands the stream over, in one process of all."""

    def __init__(
        self,
        db: Database,
        names: Names,
        stream: Stream,
        servers: RoomServers,
        typing: Typing,
        sender: Sender,
        introductions: Introducing,
        greetings: Greeting,
        server_name: ServerName,
        clock: Clock,
    ) -> None:
        self._db = db
        self._names = names
        self._stream = stream
        self._servers = servers
        self._typing = typing
        self._sender = sender
        self._introductions = introductions
        self._greetings = greetings
        self._server_name = server_name
        self._clock = clock
        self._is_running = False
        self._news = asyncio.Event()
        self._changes: list[Change] = []
        self._heard_upto = 0
        self._has_lost = False
        self._typists: dict[tuple[int, str], float] = {}
        """Who of our users types in which room, and when others were told so."""
        self._typing_news: dict[tuple[int, str], bool] = {}

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of what was committed; a listener of the stream."""
        del own
        self._servers.heard(changes)
        if not self._is_running or not changes:
            return
        self._heard_upto = max(self._heard_upto, changes[-1].position)
        self._changes += [change for change in changes if self._concerns_others(change)]
        if len(self._changes) > MOST_WAITING:
            self._changes.clear()
            self._has_lost = True
        self._news.set()

    def typing_changed(self, room_nid: int, user_id: str, is_typing: bool) -> None:
        """Somebody begins or ceases to type; a listener of typing."""
        if self._is_running and self._is_ours(user_id):
            self._typing_news[room_nid, user_id] = is_typing
            self._news.set()

    async def run(self, position: int) -> None:
        """Hand over everything after `position`, until cancelled."""
        self._changes.clear()
        self._typing_news.clear()
        self._typists.clear()
        self._has_lost = False
        start = self._heard_upto = self._stream.position
        self._is_running = True
        try:
            await self._read_back(position, start)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat_typing())
                group.create_task(self._repeat_presence())
                group.create_task(self._greetings.run())
                await self._hand_over(start)
        finally:
            self._is_running = False

    async def _hand_over(self, position: int) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            upto = self._heard_upto
            # What was committed as this began may have been read back and heard as well.
            changes = [change for change in self._changes if change.position > position]
            self._changes = []
            typing, self._typing_news = self._typing_news, {}
            if self._has_lost:
                self._has_lost = False
                await self._read_back(position, upto)
            else:
                await self._patiently(changes, upto)
            await self._tell_typing(typing)
            position = upto

    async def _read_back(self, since: int, upto: int) -> None:
        """Hand over what the database has of a stretch of the stream."""
        while since < upto:
            try:
                events = await own_events_between(self._db, self._server_name, since, upto, PAGE)
                is_last = len(events) < PAGE
                end = upto if is_last else position_of(events[-1])
                queued = await changed_outgoing(self._db, since, end)
                await self._introductions.introduce([e for e in events if self._is_join(e)])
                await self._hand_over_events(events, end)
                self._tell_queued(queued)
            except MatrixError as error:
                log.warning("The stream cannot be handed over just now: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            since = end

    async def _patiently(self, changes: Sequence[Change], upto: int) -> None:
        """Hand over changes; if the database is not there, later."""
        while True:
            try:
                relayed = [c.event_nid for c in changes if isinstance(c, EventRelayed)]
                added = [
                    change.event
                    for change in changes
                    if isinstance(change, EventAdded) and not change.is_distributed
                ]
                own = [event for event in added if self._is_ours(event.sender)]
                joins = [
                    change.event
                    for change in changes
                    if isinstance(change, EventAdded) and self._is_join(change.event)
                ]
                await self._introductions.introduce(joins)
                passed_on = (await get_events(self._db, relayed)).values()
                await self._hand_over_events(sorted([*own, *passed_on], key=position_of), upto)
                break
            except MatrixError as error:
                log.warning("The stream cannot be handed over just now: %s", error)
                await asyncio.sleep(RETRY_S)
        self._tell_queued(changes)
        try:
            await self._tell_receipts([c for c in changes if isinstance(c, ReceiptMoved)])
            await self._tell_presence([c for c in changes if isinstance(c, PresenceSet)])
            await self._tell_newcomers([c for c in changes if isinstance(c, EventAdded)])
        except MatrixError as error:
            log.warning("Receipts and presence are not told: %s", error)

    async def _hand_over_events(self, events: Sequence[StoredEvent], upto: int) -> None:
        destinations = await self._servers.destinations(events) if events else []
        pdus = [
            (outgoing_pdu(event), names)
            for event, names in zip(events, destinations, strict=True)
            if names
        ]
        self._sender.distribute(pdus, upto)

    def _tell_queued(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, EdusQueued):
                self._sender.edus_queued(change.destinations)

    async def _tell_receipts(self, moved: Sequence[ReceiptMoved]) -> None:
        if not moved:
            return
        room_nids = {change.room_nid for change in moved}
        servers = await self._servers.now(room_nids)
        rooms = await self._names.rooms.get_many(n for n in room_nids if servers.get(n))
        for change in moved:
            room = rooms.get(change.room_nid)
            if room is not None:
                receipt = Receipt(
                    room.room_id,
                    UserId(change.user_id),
                    EventId(change.event_id),
                    change.ts,
                    change.thread_id or None,
                )
                self._sender.send_receipt(servers[change.room_nid], receipt)

    async def _tell_presence(self, changes: Sequence[PresenceSet]) -> None:
        """Tell the servers that share a room with each user."""
        if not changes:
            return
        rooms = await joined_rooms_of(self._db, {change.user_nid for change in changes})
        servers = await self._servers.now({nid for own in rooms.values() for nid in own})
        for change in changes:
            names = {name for nid in rooms[change.user_nid] for name in servers.get(nid, ())}
            self._sender.send_presence(names, self._shown(change))

    async def _tell_newcomers(self, changes: Sequence[EventAdded]) -> None:
        """Tell a server whose user has come into a room how present our users in it are.

        And the servers in a room how present a user of ours is who has come into it.
        """
        joins = [change for change in changes if change.membership is Membership.JOIN]
        replaced = await get_events(
            self._db, [nid for join in joins if (nid := join.event.replaces_nid) is not None]
        )
        new = [
            join
            for join in joins
            if (former := replaced.get(join.event.replaces_nid or 0)) is None
            or former.content.get("membership") != "join"
        ]
        if not new:
            return
        self._greetings.greet(new)
        room_nids = {join.event.room_nid for join in new}
        servers = await self._servers.now(room_nids)
        present = await present_members(self._db, [nid for nid in room_nids if servers.get(nid)])
        for join in new:
            for member in present.get(join.event.room_nid, ()):
                if not join.is_local_member:
                    names = {server_of(str(join.event.state_key))}
                    self._sender.send_presence(names, self._shown(member))
                elif member.user_nid == join.member_nid:
                    names = set(servers[join.event.room_nid])
                    self._sender.send_presence(names, self._shown(member))

    async def _tell_typing(self, news: dict[tuple[int, str], bool]) -> None:
        if not news:
            return
        room_nids = {room_nid for room_nid, _ in news}
        try:
            servers = await self._servers.now(room_nids)
            rooms = await self._names.rooms.get_many(n for n in room_nids if servers.get(n))
        except MatrixError as error:
            log.warning("Who types is not told: %s", error)
            return
        now_s = asyncio.get_running_loop().time()
        for (room_nid, user_id), is_typing in news.items():
            self._typists.pop((room_nid, user_id), None)
            room = rooms.get(room_nid)
            if room is not None:
                typist = Typist(room.room_id, UserId(user_id), is_typing)
                self._sender.send_typing(servers[room_nid], typist)
                if is_typing:
                    self._typists[room_nid, user_id] = now_s

    async def _repeat_typing(self) -> None:
        while True:
            await asyncio.sleep(TYPING_AGAIN_S / 5)
            long_ago = asyncio.get_running_loop().time() - TYPING_AGAIN_S
            due = [key for key, told_s in self._typists.items() if told_s < long_ago]
            for room_nid, user_id in due:
                if user_id in self._typing.users_typing(room_nid):
                    self._typing_news.setdefault((room_nid, user_id), True)
                    self._news.set()

    async def _repeat_presence(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_AGAIN_S)
            try:
                await self._tell_presence(await users_present(self._db))
            except MatrixError as error:
                log.warning("Presence is not told again: %s", error)

    def _shown(self, change: PresenceSet) -> PresenceUpdate:
        return PresenceUpdate(
            UserId(change.user_id),
            change.presence,
            change.status_msg,
            max(self._clock() - change.last_active_ts, 0),
            change.currently_active,
        )

    def _concerns_others(self, change: Change) -> bool:
        if isinstance(change, EventAdded):
            return change.membership is Membership.JOIN or self._is_ours(change.event.sender)
        if isinstance(change, ReceiptMoved):
            return change.receipt_type == READ and self._is_ours(change.user_id)
        if isinstance(change, PresenceSet):
            return self._is_ours(change.user_id)
        return isinstance(change, EdusQueued | EventRelayed)

    def _is_join(self, event: StoredEvent) -> bool:
        """Whether an event says that a user of ours is in a room."""
        is_member_event = event.type == "m.room.member" and self._is_ours(event.sender)
        return is_member_event and event.content.get("membership") == "join"

    def _is_ours(self, user_id: str) -> bool:
        return server_of(user_id) == self._server_name
