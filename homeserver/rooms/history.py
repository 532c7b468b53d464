"""Paging through a room's history, and what lies around an event of it.

A page is read along the index of the room's history, then whatever the viewer may not see is left
out. Where that, or a filter, leaves little over, a few further stretches are read; what is still
missing then is for the next page, so that no request costs without bound.

A page backwards does not step over a gap in the history: what is missing there is fetched first,
and only if nobody has it the page goes on with what is below.
Source: client-server API, `GET /messages`, "Event Context".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from federation.protocol.auth_events import member_place
from federation.protocol.errors import NotFound
from federation.protocol.filters import NO_ROOM_EVENT_FILTER, RoomEventFilter
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_token import Gap, HistoryPoint, Received, gap_after, gap_before
from homeserver.rooms.history_visibility import SeenEvent, see_events
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.readable_rooms import ReadableRoom, get_readable_room
from homeserver.rooms.viewer import Viewer
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import find_event, get_events
from storage.history_gaps import HistoryGap
from storage.names import Names
from storage.room_state import get_places_at, get_state
from storage.state_events import choose_events
from storage.timeline import (
    LONGEST_STRETCH,
    Criteria,
    Point,
    Span,
    page_of_history,
    search_history,
    span_received_after,
    span_received_upto,
)

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
MOST_STRETCHES = 5


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """Which page is wanted: from `start` on, or from the end of the room's history."""

    backwards: bool
    limit: int = DEFAULT_LIMIT
    start: HistoryPoint | None = None
    stop: HistoryPoint | None = None
    wanted: RoomEventFilter = NO_ROOM_EVENT_FILTER


@dataclass(frozen=True, slots=True)
class MessagesPage:
    """Events as JSON; `end` is None where there are no more, `state` unless members are lazy."""

    start: str
    end: str | None
    chunk: list[bytes]
    state: list[bytes] | None


@dataclass(frozen=True, slots=True)
class EventContext:
    """An event with its neighbours and the state at the last of them, as JSON.

    `before` has the newest first. The tokens lead to what comes before and after all of them.
    """

    start: str
    end: str
    before: list[bytes]
    event: bytes
    after: list[bytes]
    state: list[bytes]


@dataclass(frozen=True, slots=True)
class Reading:
    """Events that were read for a viewer, and where reading ended: None at the history's end."""

    events: list[SeenEvent]
    end: Gap | None


class MissingHistory(Protocol):
    """Brings history that this server does not have yet, from other servers."""

    async def find_gap(self, span: Span, after: Point, passed: Iterable[int]) -> HistoryGap | None:
        """The highest gap of a span, beyond a point of it, that it makes sense to fill.

        Those before the `passed` events are left out.
        """

    async def fill(self, room_nid: int, gap: HistoryGap) -> None:
        """Fetch what is right before a gap, as far as it can be had."""


class NoMissingHistory:
    """For a server that asks nobody."""

    async def find_gap(self, span: Span, after: Point, passed: Iterable[int]) -> HistoryGap | None:
        """Nothing can be had."""
        del span, after, passed
        return None

    async def fill(self, room_nid: int, gap: HistoryGap) -> None:
        """Nothing can be had."""


class History:
    """Reads rooms' histories for users."""

    def __init__(
        self,
        db: Database,
        names: Names,
        clients: ClientEvents,
        ignored: IgnoredUsers,
        missing: MissingHistory | None = None,
    ) -> None:
        self._db = db
        self._names = names
        self._clients = clients
        self._ignored = ignored
        self._missing = missing or NoMissingHistory()

    async def messages(
        self, viewer: Viewer, room_id: str, request: MessagesRequest
    ) -> MessagesPage:
        """A page of a room's history. Raises `Forbidden`."""
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        span = await self.span(readable, request)
        reading = await self.read(
            viewer, readable, span, request.wanted, request.limit, backwards=request.backwards
        )
        start = request.start or _start_of(reading, backwards=request.backwards)
        state = None
        if request.wanted.lazy_load_members and reading.events:
            state = await self._senders(reading.events)
        return MessagesPage(
            str(start),
            None if reading.end is None else str(reading.end),
            await self._clients.render(reading.events, viewer, with_room_id=True),
            state,
        )

    async def context(
        self, viewer: Viewer, room_id: str, event_id: str, limit: int, wanted: RoomEventFilter
    ) -> EventContext:
        """An event and at most `limit` others around it. Raises `Forbidden`, `NotFound`."""
        readable = await get_readable_room(self._db, self._names, viewer, room_id)
        middle = await self._see_one(viewer, readable, event_id)
        room_nid = readable.room.room_nid
        before_point, after_point = gap_before(middle.event), gap_after(middle.event)
        before_span = Span(room_nid, upto=(before_point.depth, before_point.position))
        after_span = Span(room_nid, after=(after_point.depth, after_point.position))
        before = await self.read(viewer, readable, before_span, wanted, limit // 2, backwards=True)
        after = await self.read(
            viewer, readable, after_span, wanted, limit - limit // 2, backwards=False
        )
        events = [*before.events, middle, *after.events]
        rendered = await self._clients.render(events, viewer, with_room_id=True)
        at = len(before.events)
        last = after.events[-1] if after.events else middle
        first = before.events[-1] if before.events else middle
        return EventContext(
            str(before.end or gap_before(first.event)),
            str(after.end or gap_after(last.event)),
            rendered[:at],
            rendered[at],
            rendered[at + 1 :],
            await self._state_at(last.event, events, wanted),
        )

    async def event(self, viewer: Viewer, room_id: str | None, event_id: str) -> bytes:
        """One event, of a certain room unless `room_id` is None. Raises `NotFound`."""
        seen = await self.find(viewer, room_id, event_id)
        return (await self._clients.render([seen], viewer, with_room_id=True))[0]

    async def find(self, viewer: Viewer, room_id: str | None, event_id: str) -> SeenEvent:
        """One event that the viewer may see, for `event`. Raises `NotFound`."""
        event = await find_event(self._db, event_id)
        if event is None:
            raise _not_found()
        room = await self._names.rooms.get(event.room_nid)
        if room_id is not None and room.room_id != room_id:
            raise _not_found()
        seen = await self._visible(viewer, [event], None)
        if not seen:
            raise _not_found()
        return seen[0]

    async def span(self, readable: ReadableRoom, request: MessagesRequest) -> Span:
        """The part of the history that a request for a page is about."""
        span = Span(readable.room.room_nid)
        lower, upper = request.start, request.stop
        if request.backwards:
            lower, upper = upper, lower
        if isinstance(lower, Gap):
            span = replace(span, after=(lower.depth, lower.position))
        if isinstance(upper, Gap):
            received = upper.received if request.backwards else None
            upto = (upper.depth, upper.position)
            span = replace(span, upto=upto, received_upto=received)
        if isinstance(lower, Received):
            span = await span_received_after(self._db, span, lower.position)
        if isinstance(upper, Received):
            span = await span_received_upto(self._db, span, upper.position)
        if readable.until is not None:
            span = await span_received_upto(self._db, span, readable.until)
        return span

    async def read(
        self,
        viewer: Viewer,
        readable: ReadableRoom,
        span: Span,
        wanted: RoomEventFilter,
        limit: int,
        *,
        backwards: bool,
    ) -> Reading:
        """The first events of a span that are wanted and visible; the last ones if `backwards`."""
        if not wanted.allows_room(readable.room.room_id) or wanted.wants_nothing or not limit:
            return Reading([], None)
        criteria = await self.criteria(wanted)
        found: list[SeenEvent] = []
        end: Gap | None = None
        passed: set[int] = set()
        for attempt in range(MOST_STRETCHES):
            missing = limit - len(found)
            events, end = await self._stretch(span, criteria, missing, attempt, backwards=backwards)
            gap = await self._find_gap(span, end, passed) if backwards else None
            if gap is not None:
                events = [event for event in events if (event.depth, event.position) > gap.point]
                end = Gap(*gap.point, span.received_upto)
                passed.add(gap.event_nid)
            if wanted.contains_url is not None:
                events = [event for event in events if wanted.allows_content(event.content)]
            found += await self._visible(viewer, events, readable)
            if end is None or len(found) >= limit:
                break
            if gap is not None:
                await self._missing.fill(span.room_nid, gap)
            span = _rest(span, end, backwards=backwards)
        return Reading(found, end)

    async def _find_gap(self, span: Span, end: Gap | None, passed: set[int]) -> HistoryGap | None:
        """The first gap that reading backwards through a span to an end comes to.

        What is fetched counts as received before all else, so it is not for who wants the latest.
        """
        if span.received_after is not None:
            return None
        after = span.after if end is None else (end.depth, end.position)
        return await self._missing.find_gap(span, after, passed)

    async def criteria(self, wanted: RoomEventFilter) -> Criteria | None:
        """A filter in the database's terms; None if it wants everything."""
        if wanted.is_empty:
            return None
        return Criteria(
            types=wanted.types_like,
            not_types=wanted.not_types_like,
            senders=await self._user_nids(wanted.senders),
            not_senders=await self._user_nids(wanted.not_senders) or [],
            mentions_url=wanted.contains_url is True,
            rel_types=None if wanted.rel_types is None else list(wanted.rel_types),
            not_rel_types=list(wanted.not_rel_types),
            related_by_senders=await self._user_nids(wanted.related_by_senders),
            related_by_rel_types=(
                None if wanted.related_by_rel_types is None else list(wanted.related_by_rel_types)
            ),
        )

    async def _user_nids(self, users: frozenset[str] | None) -> list[int] | None:
        if users is None:
            return None
        return list((await self._names.users.find_nids(users)).values()) if users else []

    async def _stretch(
        self, span: Span, criteria: Criteria | None, limit: int, attempt: int, *, backwards: bool
    ) -> tuple[list[StoredEvent], Gap | None]:
        """The next events, and where the stretch that was looked at ended, if not at the end."""
        if criteria is None:
            events = await page_of_history(self._db, span, limit + 1, backwards=backwards)
            if len(events) <= limit:
                return events, None
            edge = events[limit - 1]
            end = gap_before(edge, span.received_upto) if backwards else gap_after(edge)
            return events[:limit], end
        length = LONGEST_STRETCH if attempt else min(10 * limit, LONGEST_STRETCH)
        stretch = await search_history(self._db, span, criteria, limit, length, backwards=backwards)
        found = await get_events(self._db, stretch.event_nids)
        events = [found[nid] for nid in stretch.event_nids]
        if stretch.last is None:
            return events, None
        depth, position = stretch.last
        if backwards:
            return events, Gap(depth, position - 1, span.received_upto)
        return events, Gap(depth, position)

    async def _visible(
        self, viewer: Viewer, events: Sequence[StoredEvent], readable: ReadableRoom | None
    ) -> list[SeenEvent]:
        """Those of the events that the viewer may see and does not ignore."""
        memberships = None if readable is None else readable.memberships
        seen = await see_events(self._db, self._names, viewer, events, memberships)
        ignored = await self._ignored.ignored_by(viewer.user_nid)
        return [item for item in seen if not is_ignored(item.event, ignored)] if ignored else seen

    async def _see_one(self, viewer: Viewer, readable: ReadableRoom, event_id: str) -> SeenEvent:
        event = await find_event(self._db, event_id)
        if event is None or event.room_nid != readable.room.room_nid:
            raise _not_found()
        seen = await self._visible(viewer, [event], readable)
        if not seen:
            raise _not_found()
        return seen[0]

    async def _senders(self, events: Sequence[SeenEvent]) -> list[bytes]:
        """The memberships of a page's senders as they were at its first event."""
        senders = {item.event.sender for item in events}
        snapshot_nid = events[0].event.snapshot_nid
        if snapshot_nid is None:
            return []
        places = await self._names.places.find_nids(member_place(user_id) for user_id in senders)
        state = (await get_places_at(self._db, [snapshot_nid], places.values()))[snapshot_nid]
        members = await get_events(self._db, state.values())
        return await self._clients.render_state(list(members.values()), with_room_id=True)

    async def _state_at(
        self, event: StoredEvent, shown: Sequence[SeenEvent], wanted: RoomEventFilter
    ) -> list[bytes]:
        """The state after an event, as far as it is wanted."""
        if event.snapshot_nid is None:
            return []
        member_places = None
        if wanted.lazy_load_members:
            senders = {item.event.sender for item in shown}
            found = await self._names.places.find_nids(member_place(name) for name in senders)
            member_places = list(found.values())
        state = await get_state(self._db, event.snapshot_nid)
        criteria = await self.criteria(wanted) or Criteria()
        events = await choose_events(self._db, state.values(), criteria, member_places)
        chosen = [event for event in events if wanted.allows_content(event.content)]
        return await self._clients.render_state(chosen, with_room_id=True)


def is_ignored(event: StoredEvent, ignored: frozenset[str]) -> bool:
    """Whether an event is kept from somebody who ignores its sender; state events never are."""
    return event.place_nid is None and event.sender in ignored


def _start_of(reading: Reading, *, backwards: bool) -> Gap:
    """The token of a page that was asked for without one."""
    if not reading.events:
        return reading.end or Gap(0, 0)
    first = reading.events[0].event
    return gap_after(first) if backwards else gap_before(first)


def _rest(span: Span, end: Gap, *, backwards: bool) -> Span:
    """What is left of a span that was read up to a gap."""
    point = (end.depth, end.position)
    return replace(span, upto=point) if backwards else replace(span, after=point)


def _not_found() -> NotFound:
    return NotFound("Event not found")
