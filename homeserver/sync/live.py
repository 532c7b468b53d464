"""Syncs of clients that keep up, answered from the window of the stream.

This is what every message costs for every receiver, so it does the least that a plain case needs:
no query, and the JSON of an event made once for all of them. What it cannot answer so (a timeline
with a gap, a membership of the user's own, a redaction, a filter that shapes events) it leaves to
`catch_up.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import member_place
from federation.protocol.filters import EventFormat, RoomEventFilter, SyncFilter
from homeserver.push.counts import UnreadCounts
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_token import received_before
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.rooms.viewer import Viewer
from homeserver.sync.followers import Follower
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.ports import IgnoredUsers, ShownAccountData, TypingUsers
from homeserver.sync.request import SyncRequest
from homeserver.sync.response import RoomSection, SyncBody, receipt_event, typing_event
from homeserver.sync.room_states import StateWanted, read_members
from homeserver.sync.summaries import SUMMARISED, Summary, find_nameless, read_summaries
from homeserver.sync.timelines import timeline_limit
from homeserver.sync.token import SyncToken
from homeserver.sync.unread import add_missing_counts
from homeserver.sync.window_events import WindowEvents
from storage.changes import EventAdded, Membership, ReceiptMoved, StickyEventAdded
from storage.database import Database
from storage.names import Names
from storage.presence import presence_after, presence_of
from storage.stream import RoomChange, Stream


@dataclass(frozen=True, slots=True)
class RoomNews:
    """What the window has of one room since a token."""

    room_nid: int
    events: Sequence[EventAdded]
    receipts: Sequence[ReceiptMoved]

    def without(self, ignored: frozenset[str]) -> "RoomNews":
        """The news less what ignored users said."""
        if not ignored:
            return self
        events = [
            added
            for added in self.events
            if added.event.state_key is not None or added.event.sender not in ignored
        ]
        receipts = [receipt for receipt in self.receipts if receipt.user_id not in ignored]
        return RoomNews(self.room_nid, events, receipts)


class LiveSync:
    """Answers from memory where it can."""

    def __init__(
        self,
        db: Database,
        names: Names,
        stream: Stream,
        clients: ClientEvents,
        counts: UnreadCounts,
        lazy: LazyMembers,
        typing: TypingUsers,
        account_data: ShownAccountData,
        ignored: IgnoredUsers,
        events: WindowEvents,
    ) -> None:
        self._db = db
        self._names = names
        self._stream = stream
        self._clients = clients
        self._counts = counts
        self._lazy = lazy
        self._typing = typing
        self._account_data = account_data
        self._ignored = ignored
        self._events = events

    @property
    def typing_serial(self) -> int:
        """The present number of typing changes."""
        return self._typing.serial

    async def read(self, follower: Follower, request: SyncRequest) -> SyncBody | None:
        """What happened since the request's token, or None if it takes the database to tell."""
        since, wanted, window = request.since, request.wanted, self._stream.window
        if (
            since is None
            or since.sticky is not None
            or not window.start <= since.position <= window.position
            or follower.membership_changed > since.position
            or not is_plain(wanted)
        ):
            return None
        upto = SyncToken(window.position, self._typing.serial)
        news = self._collect(follower, since.position, wanted)
        if news is None or (request.state_after is not None and changes_state(news)):
            return None
        account_data = window.account_data_changes(follower.user_nid, since.position)
        typing = self._typing.changed_after(since.typing, follower.joined)
        has_presence = window.presence_position > since.position
        newcomers = {
            added.member_nid
            for item in news
            for added in item.events
            if added.member_nid is not None and added.membership is Membership.JOIN
        } - {follower.user_nid}
        body = SyncBody(upto)
        await self._add_rooms(body, follower, request, news, upto.position)
        await self._add_account_data(body, follower, request.viewer, wanted, account_data)
        await self._add_typing(body, wanted, typing)
        await add_missing_counts(body, follower, follower.rooms, self._names, self._counts)
        if (has_presence or newcomers) and not wanted.presence.wants_nothing:
            changed = await presence_after(
                self._db, follower.user_nid, since.position, upto.position
            )
            told = {presence.user_nid for presence in changed}
            changed += await presence_of(self._db, newcomers - told)
            body.presence = [p for p in changed if wanted.presence.allows("m.presence", p.user_id)]
        return body

    def _collect(self, follower: Follower, since: int, wanted: SyncFilter) -> list[RoomNews] | None:
        """The news of the user's rooms; None where a room has more than fits."""
        window = self._stream.window
        limit = timeline_limit(wanted.room.timeline)
        news = []
        for room_nid in follower.joined:
            if not window.has_room_since(room_nid, since):
                continue
            changes = window.room_changes(room_nid, since)
            events = select_events(changes, wanted.room.timeline)
            if (
                events is None
                or has_hidden_sticky(changes, events, wanted.room.timeline)
                or len(events) > limit
                or any(added.follows_gap for added in changes if isinstance(added, EventAdded))
                or not window.has_intact_events(room_nid, since)
            ):
                return None
            receipts = [
                change
                for change in changes
                if isinstance(change, ReceiptMoved)
                and (
                    change.receipt_type != "m.read.private" or change.user_nid == follower.user_nid
                )
            ]
            news.append(RoomNews(room_nid, events, receipts))
        return news

    async def _add_rooms(
        self,
        body: SyncBody,
        follower: Follower,
        request: SyncRequest,
        news: Sequence[RoomNews],
        upto: int,
    ) -> None:
        rooms = await self._names.rooms.get_many([item.room_nid for item in news])
        ids = {nid: room.room_id for nid, room in rooms.items()}
        ignored = await self._ignored.ignored_by(follower.user_nid)
        wanted = request.wanted.room
        news = [item.without(ignored) for item in news if wanted.allows_room(ids[item.room_nid])]
        joined_at = {item.room_nid: follower.rooms[item.room_nid].position for item in news}
        counts = await self._counts.of(follower.user_nid, follower.user_id, joined_at, upto)
        shown = {
            item.room_nid: item.events
            for item in news
            if item.events and wanted.timeline.allows_room(ids[item.room_nid])
        }
        rendered = await self._events.render(flatten(shown.values()), request.viewer)
        summaries = await self._summaries(follower, news)
        members = (
            await self._members(shown, summaries, request, upto)
            if wanted.state.lazy_load_members
            else {}
        )
        for item in news:
            nid = item.room_nid
            section = RoomSection(counts=counts.get(nid), summary=summaries.get(nid))
            if nid in shown:
                section.timeline = [rendered[added.event.event_nid] for added in shown[nid]]
                section.prev_batch = str(received_before(shown[nid][0].event))
                section.state = members.get(nid, ())
            if item.receipts and wanted.ephemeral.allows("m.receipt"):
                section.ephemeral.append(receipt_event(item.receipts))
            if not section.is_empty:
                body.joined[ids[nid]] = section

    async def _summaries(self, follower: Follower, news: Sequence[RoomNews]) -> dict[int, Summary]:
        """Summaries of the rooms whose members or names changed."""
        changed = [
            item.room_nid
            for item in news
            if any(added.event.type in SUMMARISED for added in item.events)
        ]
        if not changed:
            return {}
        nameless = await find_nameless(self._db, self._names, changed)
        return await read_summaries(self._db, changed, nameless, follower.user_nid)

    async def _members(
        self,
        shown: Mapping[int, Sequence[EventAdded]],
        summaries: Mapping[int, Summary],
        request: SyncRequest,
        upto: int,
    ) -> dict[int, list[bytes]]:
        """The member events of senders and heroes that the device does not have, by room."""
        device_nid = request.viewer.device_nid
        since = request.since.position if request.since is not None else 0
        users = {nid: {added.event.sender for added in events} for nid, events in shown.items()}
        for nid in summaries.keys() & users.keys():
            users[nid] |= summaries[nid].hero_ids
        everyone = {member_place(user) for part in users.values() for user in part}
        places = await self._names.places.get_nids(everyone)
        asked = []
        for room_nid, events in shown.items():
            wanted = {places[member_place(user)] for user in users[room_nid]}
            unsent = self._lazy.unsent(device_nid, room_nid, wanted, since)
            self._lazy.note(device_nid, room_nid, wanted, upto)
            if not request.wanted.room.state.include_redundant_members:
                wanted = unsent
            missing = wanted - {added.event.place_nid for added in events}
            asked.append(StateWanted(room_nid, frozenset(), frozenset(missing)))
        members = await read_members(self._db, asked)
        if not members:
            return {}
        seen = [SeenEvent(member, "join") for member in members]
        rendered = await self._clients.render(seen, request.viewer, with_room_id=False)
        by_room: dict[int, list[bytes]] = {}
        for member, encoded in zip(members, rendered, strict=True):
            by_room.setdefault(member.room_nid, []).append(encoded)
        return by_room

    async def _add_account_data(
        self,
        body: SyncBody,
        follower: Follower,
        viewer: Viewer,
        wanted: SyncFilter,
        changes: Sequence[Any],
    ) -> None:
        if not changes:
            return
        latest = {(row.room_nid, row.type): row for row in changes}
        shown = self._account_data.show_account_data(
            viewer.user_nid, viewer.user_id, latest.values(), complete=False
        )
        body.account_data = [
            row for row in shown if not row.room_nid and wanted.account_data.allows(row.type)
        ]
        of_rooms = [row for row in shown if row.room_nid and follower.is_joined(row.room_nid)]
        rooms = await self._names.rooms.get_many({row.room_nid for row in of_rooms})
        for row in of_rooms:
            room_id = rooms[row.room_nid].room_id
            if wanted.room.allows_room(room_id) and wanted.room.account_data.allows(row.type):
                section = body.joined.setdefault(room_id, RoomSection())
                section.account_data = [*section.account_data, row]

    async def _add_typing(
        self, body: SyncBody, wanted: SyncFilter, room_nids: Sequence[int]
    ) -> None:
        if not room_nids or not wanted.room.ephemeral.allows("m.typing"):
            return
        rooms = await self._names.rooms.get_many(room_nids)
        for room_nid in room_nids:
            room_id = rooms[room_nid].room_id
            if wanted.room.allows_room(room_id):
                section = body.joined.setdefault(room_id, RoomSection())
                section.ephemeral.append(dict(typing_event(self._typing.users_typing(room_nid))))


def is_plain(wanted: SyncFilter) -> bool:
    """Whether a filter leaves the events as they are, and there may be any."""
    return (
        wanted.event_fields is None
        and wanted.event_format is EventFormat.CLIENT
        and not wanted.room.timeline.wants_nothing
    )


def select_events(
    changes: Sequence[RoomChange], wanted: RoomEventFilter
) -> list[EventAdded] | None:
    """The events that a filter wants in the timeline; None if it refuses a state event.

    That one is then to be told in the state.
    """
    events = [change for change in changes if isinstance(change, EventAdded)]
    if wanted.is_empty:
        return events
    kept = []
    for added in events:
        event = added.event
        if wanted.allows_event(event.type, event.sender, "", event.content):
            kept.append(added)
        elif event.state_key is not None:
            return None
    return kept


def has_hidden_sticky(
    changes: Sequence[RoomChange], shown: Sequence[EventAdded], wanted: RoomEventFilter
) -> bool:
    """Whether there is a sticky event that the timeline may not show, which is then told apart."""
    sticky = {change.event_nid for change in changes if isinstance(change, StickyEventAdded)}
    if not sticky:
        return False
    return not wanted.is_empty or not sticky <= {added.event.event_nid for added in shown}


def flatten(parts: Iterable[Sequence[EventAdded]]) -> list[EventAdded]:
    """The events of several rooms in one list."""
    return [added for part in parts for added in part]


def changes_state(news: Sequence[RoomNews]) -> bool:
    """Whether the state of a room is another one since the news."""
    return any(added.changes_state for item in news for added in item.events)
