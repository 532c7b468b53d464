"""Syncs that take the database: initial ones, those after a while, and all special cases.

Everything is read for all rooms at once, in a number of queries that does not depend on how many
rooms there are. What is newer than the stream position at the beginning is left out or rolled
back, so the parts fit together although no transaction holds them.
"""

from collections.abc import Mapping, Sequence

from federation.protocol.event_rendering import dump_event, render_federation_event
from federation.protocol.filters import EventFormat, keep_fields
from federation.protocol.identifiers import RoomId
from homeserver.push.counts import UnreadCounts
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_visibility import OwnMembership, SeenEvent
from homeserver.sync.classify import Sections, classify_all, classify_changed
from homeserver.sync.followers import Follower, RoomMembership
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.ports import IgnoredUsers, InvitesTaken, ShownAccountData, TypingUsers
from homeserver.sync.reading import Reading
from homeserver.sync.request import SyncRequest
from homeserver.sync.response import RoomSection, SyncBody, receipt_event, typing_event
from homeserver.sync.sticky import StickyEvents
from homeserver.sync.stripped import read_stripped_states
from homeserver.sync.summaries import SUMMARISED, Summary, find_nameless, read_summaries
from homeserver.sync.timelines import BEGINNING, Span, Timeline, read_timelines, timeline_limit
from homeserver.sync.token import SyncToken
from homeserver.sync.told_states import ToldStates
from homeserver.sync.unread import add_missing_counts
from storage.account_data import account_data_after, account_data_of_rooms, all_account_data
from storage.changes import AccountDataSet, PresenceSet, ReceiptMoved, StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.presence import joined_users, presence_after, presence_of
from storage.receipts import receipts_after
from storage.stream import Stream


class CatchUp:
    """Answers from the database."""

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
        invites: InvitesTaken,
        sticky: StickyEvents,
        first_events: int,
    ) -> None:
        """`first_events` is the most that is shown of rooms that are new to the client."""
        self._db = db
        self._names = names
        self._stream = stream
        self._clients = clients
        self._counts = counts
        self._told_states = ToldStates(db, names, lazy)
        self._typing = typing
        self._account_data = account_data
        self._ignored = ignored
        self._invites = invites
        self._sticky = sticky
        self._first_events = first_events

    async def read(self, follower: Follower, request: SyncRequest) -> SyncBody:
        """What to tell of everything since the request's token."""
        since = request.since.position if request.since is not None else BEGINNING
        token = SyncToken(max(self._stream.position, since), self._typing.serial)
        sections = await self._classify(follower, request, since, token.position)
        rooms = await self._select_rooms(request, sections)
        ignored = await self._ignored.ignored_by(follower.user_nid)
        reading = Reading(follower, request, since, token, sections, rooms, ignored, {})
        await self._read_timelines(reading)
        body = SyncBody(token)
        receipts = await self._receipts(reading)
        account_data = await self._read_account_data(reading)
        shown = self._interesting(reading, receipts, account_data)
        body.joined, body.left = await self._build_sections(reading, shown)
        self._add_ephemeral(reading, body, receipts)
        self._add_account_data(reading, body, account_data)
        await self._add_invitations(reading, body)
        await self._sticky.add(reading, body)
        await add_missing_counts(body, follower, sections.joined, self._names, self._counts)
        body.presence = await self._presence(reading)
        return body

    async def _classify(
        self, follower: Follower, request: SyncRequest, since: int, upto: int
    ) -> Sections:
        if since == BEGINNING:
            include_left = request.wanted.room.include_leave
            return await classify_all(self._db, follower, upto, include_left=include_left)
        return await classify_changed(self._db, self._names, follower, since, upto)

    async def _select_rooms(self, request: SyncRequest, sections: Sections) -> dict[int, RoomId]:
        """The IDs of the rooms that the filter lets through; the others leave the sections."""
        parts = (sections.joined, sections.left, sections.invited, sections.knocked)
        found = await self._names.rooms.get_many(nid for part in parts for nid in part)
        wanted = request.wanted.room
        rooms = {
            nid: name.room_id for nid, name in found.items() if wanted.allows_room(name.room_id)
        }
        for part in parts:
            for room_nid in [nid for nid in part if nid not in rooms]:
                del part[room_nid]
        return rooms

    async def _read_timelines(self, reading: Reading) -> None:
        sections, since = reading.sections, reading.since
        wanted = reading.request.wanted.room.timeline
        limit = timeline_limit(wanted)
        first_limit = min(limit, self._first_events)
        spans = [
            Span(nid, BEGINNING, reading.upto, first_limit)
            if nid in sections.new
            else Span(nid, since, reading.upto, limit)
            for nid in sections.joined
        ]
        spans += [Span(nid, since, own.position, limit) for nid, own in sections.left.items()]
        memberships = {
            nid: OwnMembership(own.membership, own.position, own.event_nid, forgotten=False)
            for nid, own in reading.follower.rooms.items()
        }
        spans = [span for span in spans if wanted.allows_room(reading.rooms[span.room_nid])]
        reading.timelines = await read_timelines(
            self._db,
            self._names,
            reading.request.viewer,
            spans,
            memberships,
            wanted,
            reading.ignored,
        )
        await self._add_farewells(reading)

    async def _add_farewells(self, reading: Reading) -> None:
        """Show how a membership ended that was only an invite or a knock to a room elsewhere."""
        left = reading.sections.left
        silent = [
            nid
            for nid in reading.sections.outside
            if nid not in reading.timelines or not reading.timelines[nid].events
        ]
        events = await get_events(self._db, [left[nid].event_nid for nid in silent])
        for event in events.values():
            prev_batch = f"s{reading.upto}_0"
            shown = (SeenEvent(event, "leave"),)
            reading.timelines[event.room_nid] = Timeline(
                event.room_nid, shown, is_limited=False, is_complete=True, prev_batch=prev_batch
            )

    def _interesting(
        self,
        reading: Reading,
        receipts: Mapping[int, Sequence[ReceiptMoved]],
        account_data: Sequence[AccountDataSet],
    ) -> list[int]:
        """The joined and left rooms of which there is something to tell."""
        sections = reading.sections
        changed = set(receipts) | {row.room_nid for row in account_data}
        return [
            nid
            for nid in (*sections.joined, *sections.left)
            if reading.is_whole(nid)
            or nid in sections.left
            or nid in changed
            or not is_uneventful(reading.timelines.get(nid))
        ]

    async def _build_sections(
        self, reading: Reading, shown: Sequence[int]
    ) -> tuple[dict[str, RoomSection], dict[str, RoomSection]]:
        sections = reading.sections
        summaries = await self._summaries(reading, shown)
        states = await self._told_states.read(reading, shown, summaries)
        counts = await self._counts.of(
            reading.follower.user_nid,
            reading.follower.user_id,
            {nid: sections.joined[nid].position for nid in shown if nid in sections.joined},
            reading.upto,
        )
        rendered = await self._render_all(reading, shown, states)
        joined: dict[str, RoomSection] = {}
        left: dict[str, RoomSection] = {}
        for nid in shown:
            timeline = reading.timelines.get(nid)
            section = RoomSection(
                timeline=[rendered[item.event.event_nid] for item in timeline.events]
                if timeline
                else (),
                is_limited=timeline is not None
                and (timeline.is_limited or reading.is_newly_joined(nid)),
                prev_batch=timeline.prev_batch if timeline else f"s{reading.upto}_0",
                state=[rendered[event.event_nid] for event in states.get(nid, ())],
                summary=summaries.get(nid),
                counts=counts.get(nid),
            )
            (joined if nid in sections.joined else left)[reading.rooms[nid]] = section
        return joined, left

    async def _summaries(self, reading: Reading, shown: Sequence[int]) -> dict[int, Summary]:
        """Summaries of rooms that are new to the client or whose members or names changed."""
        wanted = [
            nid
            for nid in shown
            if nid in reading.sections.joined
            and (reading.is_whole(nid) or may_change_summary(reading.timelines.get(nid)))
        ]
        if not wanted:
            return {}
        nameless = await find_nameless(self._db, self._names, wanted)
        return await read_summaries(self._db, wanted, nameless, reading.follower.user_nid)

    async def _render_all(
        self, reading: Reading, shown: Sequence[int], states: Mapping[int, Sequence[StoredEvent]]
    ) -> dict[int, bytes]:
        """The JSON of all events of the response, by number."""
        viewer, wanted = reading.request.viewer, reading.request.wanted
        timeline = [
            i for nid in shown if nid in reading.timelines for i in reading.timelines[nid].events
        ]
        state = [SeenEvent(event, "join") for nid in shown for event in states.get(nid, ())]
        if wanted.event_format is EventFormat.FEDERATION:
            return {
                i.event.event_nid: render_federation_event(i.event.json) for i in timeline + state
            }
        built = await self._clients.build(timeline, viewer, with_room_id=False)
        built += await self._clients.build(state, viewer, with_room_id=False, with_bundles=False)
        if wanted.event_fields is not None:
            built = [keep_fields(event, wanted.event_fields) for event in built]
        return {
            item.event.event_nid: dump_event(event)
            for item, event in zip(timeline + state, built, strict=True)
        }

    async def _receipts(self, reading: Reading) -> dict[int, list[ReceiptMoved]]:
        """Receipts to tell: those that moved, and all of rooms new to the client."""
        if not reading.request.wanted.room.ephemeral.allows("m.receipt"):
            return {}
        joined = reading.sections.joined
        whole = [nid for nid in joined if reading.is_whole(nid)]
        others = [nid for nid in joined if not reading.is_whole(nid)]
        found = []
        for room_nids, since in ((whole, 0), (others, reading.since)):
            if room_nids:
                found += await receipts_after(
                    self._db, room_nids, reading.follower.user_nid, since, reading.upto
                )
        receipts: dict[int, list[ReceiptMoved]] = {}
        for receipt in found:
            if receipt.user_id not in reading.ignored:
                receipts.setdefault(receipt.room_nid, []).append(receipt)
        return receipts

    def _add_ephemeral(
        self, reading: Reading, body: SyncBody, receipts: Mapping[int, Sequence[ReceiptMoved]]
    ) -> None:
        for room_nid, moved in receipts.items():
            section = body.joined.setdefault(reading.rooms[room_nid], RoomSection())
            section.ephemeral.append(receipt_event(moved))
        if not reading.request.wanted.room.ephemeral.allows("m.typing"):
            return
        since = reading.request.since
        changed = self._typing.changed_after(since.typing, reading.sections.joined) if since else ()
        for room_nid in reading.sections.joined:
            users = self._typing.users_typing(room_nid)
            if room_nid in changed or (users and reading.is_whole(room_nid)):
                section = body.joined.setdefault(reading.rooms[room_nid], RoomSection())
                section.ephemeral.append(dict(typing_event(users)))

    async def _read_account_data(self, reading: Reading) -> list[AccountDataSet]:
        viewer = reading.request.viewer
        if reading.since == BEGINNING or reading.request.full_state:
            rows = await all_account_data(self._db, viewer.user_nid)
            return self._account_data.show_account_data(
                viewer.user_nid, viewer.user_id, rows, complete=True
            )
        rows = await account_data_after(self._db, viewer.user_nid, reading.since, reading.upto)
        if reading.sections.new:
            known = {(row.room_nid, row.type) for row in rows}
            of_new = await account_data_of_rooms(self._db, viewer.user_nid, reading.sections.new)
            rows += [row for row in of_new if (row.room_nid, row.type) not in known]
        return self._account_data.show_account_data(
            viewer.user_nid, viewer.user_id, rows, complete=False
        )

    def _add_account_data(
        self, reading: Reading, body: SyncBody, rows: Sequence[AccountDataSet]
    ) -> None:
        wanted = reading.request.wanted
        body.account_data = [
            row for row in rows if not row.room_nid and wanted.account_data.allows(row.type)
        ]
        for row in rows:
            if row.room_nid in reading.sections.joined and wanted.room.account_data.allows(
                row.type
            ):
                section = body.joined.setdefault(reading.rooms[row.room_nid], RoomSection())
                section.account_data = [*section.account_data, row]

    async def _add_invitations(self, reading: Reading, body: SyncBody) -> None:
        sections = reading.sections
        invited = await self._without_unwanted(reading, sections.invited)
        stripped = await read_stripped_states(
            self._db, self._names, reading.follower.user_nid, {**invited, **sections.knocked}
        )
        body.invited = {reading.rooms[nid]: stripped.get(nid, []) for nid in invited}
        body.knocked = {reading.rooms[nid]: stripped.get(nid, []) for nid in sections.knocked}

    async def _without_unwanted(
        self, reading: Reading, invited: Mapping[int, RoomMembership]
    ) -> dict[int, RoomMembership]:
        """Invites but those by ignored users and those that the user does not take."""
        inviters = await self._names.users.get_texts(own.sender_nid for own in invited.values())
        user_nid = reading.follower.user_nid
        return {
            nid: own
            for nid, own in invited.items()
            if inviters[own.sender_nid] not in reading.ignored
            and await self._invites.shows_invite(inviters[own.sender_nid], user_nid)
        }

    async def _presence(self, reading: Reading) -> list[PresenceSet]:
        """Presence that changed, and that of everybody with whom a room is newly shared."""
        wanted = reading.request.wanted.presence
        if wanted.wants_nothing:
            return []
        user_nid, since = reading.follower.user_nid, max(reading.since, 0)
        changed = await presence_after(self._db, user_nid, since, reading.upto)
        if since:
            told = {presence.user_nid for presence in changed}
            newcomers = await self._newcomers(reading)
            changed += await presence_of(self._db, newcomers - told)
        return [p for p in changed if wanted.allows("m.presence", p.user_id)]

    async def _newcomers(self, reading: Reading) -> set[int]:
        """Users who joined a room of the user's, or whose room the user joined."""
        new = reading.sections.new & set(reading.sections.joined)
        users = set(await joined_users(self._db, new)) if new else set()
        joins = {
            item.event.state_key
            for timeline in reading.timelines.values()
            for item in timeline.events
            if is_join(item.event) and item.event.state_key is not None
        }
        users |= set((await self._names.users.find_nids(joins)).values())
        return users - {reading.follower.user_nid}


def is_join(event: StoredEvent) -> bool:
    """Whether an event is somebody's join."""
    return event.type == "m.room.member" and event.content.get("membership") == "join"


def is_uneventful(timeline: Timeline | None) -> bool:
    """Whether a timeline has nothing to tell."""
    return timeline is None or (not timeline.events and timeline.is_complete)


def may_change_summary(timeline: Timeline | None) -> bool:
    """Whether members or names changed in a timeline, as far as can be seen."""
    return timeline is not None and (
        not timeline.is_complete or any(item.event.type in SUMMARISED for item in timeline.events)
    )
