"""Reads what the rooms of a response are to be told with, for all of them at once.

The number of queries does not depend on how many rooms there are. Rooms in which nothing but
messages came while the client kept up are told from the window of the stream, without a query.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.protocol.auth_events import member_place
from federation.protocol.filters import NO_FILTER
from homeserver.push.counts import UnreadCounts
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_token import received_before
from homeserver.rooms.history_visibility import OwnMembership, SeenEvent
from homeserver.rooms.viewer import Viewer
from homeserver.sync.sliding.connections import Members
from homeserver.sync.sliding.plan import OUTSIDE, Kind, Telling
from homeserver.sync.sliding.required_state import MEMBER, RequiredState, union
from homeserver.sync.sliding.room_body import HeroShown, RoomBody, text_of
from homeserver.sync.sliding.room_states import RequiredStates, StateNews
from homeserver.sync.sliding.sent import LIVE, WHOLE, SentRoom, Told
from homeserver.sync.stripped import read_stripped_states
from homeserver.sync.summaries import Summary, find_nameless, read_summaries
from homeserver.sync.timelines import BEGINNING, Span, Timeline, read_timelines
from homeserver.sync.window_events import WindowEvents
from storage.bumps import last_bumps
from storage.changes import EventAdded, Membership, StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.stream import Stream

NAME = ("m.room.name", "")
AVATAR = ("m.room.avatar", "")
BUMPS = frozenset(
    (
        "m.room.create",
        "m.room.message",
        "m.room.encrypted",
        "m.sticker",
        "m.call.invite",
        "m.poll.start",
        "org.matrix.msc3381.poll.start",
        "m.beacon_info",
        "org.matrix.msc3672.beacon_info",
    )
)
"""What moves a room up. Source: MSC4186, `bump_stamp`."""


@dataclass(slots=True)
class Reading:
    """One response in the making."""

    viewer: Viewer
    tellings: Sequence[Telling]
    since: int | None
    """The position of the client's token; None for a new connection."""
    upto: int
    ignored: frozenset[str]
    direct: frozenset[str]
    known_members: Members
    ids: Mapping[int, str]
    live: dict[int, list[EventAdded]] = field(default_factory=dict)
    timelines: dict[int, Timeline] = field(default_factory=dict)
    states: dict[int, list[StoredEvent]] = field(default_factory=dict)
    """What is told of each room's state."""
    described: dict[int, list[StoredEvent]] = field(default_factory=dict)
    """The name and the avatar, of rooms that are told whole."""
    news: dict[int, StateNews] = field(default_factory=dict)
    members_told: Members = field(default_factory=dict)
    members_forgotten: set[int] = field(default_factory=set)

    def of_kind(self, *kinds: Kind) -> list[Telling]:
        """The rooms that are told in certain ways."""
        return [telling for telling in self.tellings if telling.kind in kinds]

    def is_limited(self, room_nid: int) -> bool:
        """Whether events are left out between what the client has and what it is shown."""
        timeline = self.timelines.get(room_nid)
        return timeline is not None and timeline.is_limited

    def events(self, room_nid: int) -> list[StoredEvent]:
        """The events of the room's timeline."""
        if room_nid in self.live:
            return [added.event for added in self.live[room_nid]]
        timeline = self.timelines.get(room_nid)
        return [item.event for item in timeline.events] if timeline is not None else []


@dataclass(frozen=True, slots=True)
class RoomsRead:
    """What is told of rooms, by ID, and what the client has of them then."""

    bodies: dict[str, RoomBody]
    sent: dict[int, SentRoom | None]
    timelines: Mapping[int, Sequence[str]]
    """The IDs of the events in the timelines."""
    members_told: Members
    members_forgotten: set[int]


class RoomReader:
    """Reads rooms."""

    def __init__(
        self,
        db: Database,
        names: Names,
        stream: Stream,
        clients: ClientEvents,
        events: WindowEvents,
        counts: UnreadCounts,
    ) -> None:
        self._db = db
        self._names = names
        self._stream = stream
        self._clients = clients
        self._events = events
        self._counts = counts

    async def read(self, reading: Reading) -> RoomsRead:
        """What to tell of the rooms."""
        states = RequiredStates(self._db, self._names, reading.viewer.user_id)
        self._take_from_window(reading)
        await self._read_timelines(reading)
        await self._read_states(reading, states)
        await self._add_lazy_members(reading, states)
        bodies = await self._build(reading)
        await self._add_stripped(reading, bodies)
        return RoomsRead(
            {reading.ids[nid]: body for nid, body in bodies.items()},
            {t.room_nid: self._sent(reading, t) for t in reading.tellings},
            {nid: [event.event_id for event in reading.events(nid)] for nid in bodies},
            reading.members_told,
            reading.members_forgotten,
        )

    def _take_from_window(self, reading: Reading) -> None:
        """Take the news of rooms where there is nothing but messages."""
        window = self._stream.window
        for telling in reading.of_kind(Kind.NEWS):
            asks_more = telling.expands_timeline or telling.former_state is not None
            if asks_more or not telling.is_joined or telling.own.position > telling.since:
                continue
            if not window.start <= telling.since <= window.position:
                continue
            changes = window.room_changes(telling.room_nid, telling.since)
            added = [c for c in changes if isinstance(c, EventAdded) and c.position <= reading.upto]
            if any(item.changes_state or item.follows_gap for item in added):
                continue
            if not window.has_intact_events(telling.room_nid, telling.since):
                continue
            shown = [item for item in added if item.event.sender not in reading.ignored]
            if len(shown) <= telling.config.timeline_limit:
                reading.live[telling.room_nid] = shown

    async def _read_timelines(self, reading: Reading) -> None:
        asked = [
            telling
            for telling in reading.of_kind(Kind.WHOLE, Kind.NEWS)
            if telling.room_nid not in reading.live and telling.config.timeline_limit
        ]
        spans = [
            Span(
                telling.room_nid,
                BEGINNING if telling.shows_from_end else telling.since,
                telling.end(reading.upto),
                telling.config.timeline_limit,
            )
            for telling in asked
        ]
        memberships = {
            t.room_nid: OwnMembership(
                t.own.membership, t.own.position, t.own.event_nid, forgotten=False
            )
            for t in asked
        }
        reading.timelines = await read_timelines(
            self._db,
            self._names,
            reading.viewer,
            spans,
            memberships,
            NO_FILTER.room.timeline,
            reading.ignored,
        )

    async def _read_states(self, reading: Reading, states: RequiredStates) -> None:
        whole = [telling for telling in reading.of_kind(Kind.WHOLE) if telling.is_joined]
        found = await states.current(
            {t.room_nid: t.config.required for t in whole}, reading.upto, (NAME, AVATAR)
        )
        for telling in whole:
            events = found[telling.room_nid]
            reading.described[telling.room_nid] = events
            reading.states[telling.room_nid] = self._select(
                reading, events, telling.config.required
            )
        news = [t for t in reading.of_kind(Kind.NEWS) if t.room_nid not in reading.live]
        reading.news = await states.changes(
            {t.room_nid: (t.since, t.end(reading.upto)) for t in news}
        )
        for telling in news:
            reading.states[telling.room_nid] = self._changed(reading, telling)
        await self._add_newly_required(reading, states, news)
        await self._add_departures(reading, states)

    def _select(
        self, reading: Reading, events: Iterable[StoredEvent], required: RequiredState
    ) -> list[StoredEvent]:
        user_id = reading.viewer.user_id
        return [e for e in events if required.matches(e.type, e.state_key or "", user_id)]

    def _changed(self, reading: Reading, telling: Telling) -> list[StoredEvent]:
        """What is to be told of a room's state that has changed."""
        events, required = reading.news[telling.room_nid].events, telling.config.required
        told = self._select(reading, events, required)
        if not required.loads_lazily:
            return told
        if reading.is_limited(telling.room_nid):
            reading.members_forgotten.add(telling.room_nid)
            return told
        known = {event.event_nid for event in told}
        members = [e for e in events if e.type == MEMBER and e.event_nid not in known]
        self._note(reading, telling.room_nid, members)
        return told + members

    async def _add_newly_required(
        self, reading: Reading, states: RequiredStates, news: Sequence[Telling]
    ) -> None:
        """Add state that is required now and was not before."""
        grown = {t.room_nid: t for t in news if t.former_state is not None and t.is_joined}
        found = await states.current(
            {nid: t.config.required for nid, t in grown.items()}, reading.upto
        )
        for nid, telling in grown.items():
            former = telling.former_state
            had = [] if former is None else self._select(reading, found[nid], former)
            known = {event.event_nid for event in (*reading.states[nid], *had)}
            reading.states[nid] += [e for e in found[nid] if e.event_nid not in known]

    async def _add_departures(self, reading: Reading, states: RequiredStates) -> None:
        """Add how the user went, and of rooms that are told whole the state there was then."""
        over = [t for t in reading.tellings if t.own.membership in OUTSIDE]
        if not over:
            return
        events = await get_events(self._db, [t.own.event_nid for t in over])
        departures = {t.room_nid: events[t.own.event_nid] for t in over}
        whole = {t.room_nid: t.config.required for t in over if t.kind is Kind.WHOLE}
        found = await states.at_end({nid: departures[nid] for nid in whole}, whole)
        for telling in over:
            own = departures[telling.room_nid]
            told = reading.states.setdefault(telling.room_nid, [])
            told += [e for e in found.get(telling.room_nid, ()) if e.place_nid != own.place_nid]
            if own.event_nid not in {event.event_nid for event in told}:
                told.append(own)
            if telling.kind is Kind.FAREWELL:
                reading.timelines[telling.room_nid] = Timeline(
                    telling.room_nid,
                    (SeenEvent(own, "leave"),),
                    is_limited=False,
                    is_complete=True,
                    prev_batch=f"s{reading.upto}",
                )

    async def _add_lazy_members(self, reading: Reading, states: RequiredStates) -> None:
        """Add members who are shown in timelines and whom the client does not have."""
        shown: dict[int, set[str]] = {}
        for telling in reading.of_kind(Kind.WHOLE, Kind.NEWS):
            required = telling.config.required
            if required.loads_lazily and telling.own.membership not in OUTSIDE:
                users = users_in(reading.events(telling.room_nid))
                own = reading.viewer.user_id
                shown[telling.room_nid] = {
                    user for user in users if not required.matches(MEMBER, user, own)
                }
                if telling.kind is Kind.WHOLE:
                    reading.members_forgotten.add(telling.room_nid)
        everyone = {member_place(user) for users in shown.values() for user in users}
        places = await self._names.places.find_nids(everyone) if everyone else {}
        missing = {
            nid: [
                user
                for user in users
                if not self._has_member(reading, nid, places.get(member_place(user)))
            ]
            for nid, users in shown.items()
        }
        members = await states.members({nid: users for nid, users in missing.items() if users})
        by_room: dict[int, list[StoredEvent]] = {}
        for member in members:
            by_room.setdefault(member.room_nid, []).append(member)
        for nid, events in (await states.as_of(reading.upto, by_room)).items():
            self._note(reading, nid, events)
            reading.states.setdefault(nid, []).extend(events)

    def _has_member(self, reading: Reading, room_nid: int, place_nid: int | None) -> bool:
        if place_nid in reading.members_told.get(room_nid, ()):
            return True
        if room_nid in reading.members_forgotten:
            return False
        return place_nid in reading.known_members.get(room_nid, ())

    def _note(self, reading: Reading, room_nid: int, members: Iterable[StoredEvent]) -> None:
        places = {event.place_nid for event in members if event.place_nid is not None}
        if places:
            reading.members_told.setdefault(room_nid, set()).update(places)

    async def _build(self, reading: Reading) -> dict[int, RoomBody]:
        """The bodies of all rooms but those that are told by their stripped state."""
        tellings = reading.of_kind(Kind.WHOLE, Kind.NEWS, Kind.FAREWELL)
        rendered = await self._render(reading, tellings)
        summaries = await self._summaries(reading)
        heroes = await self._heroes(summaries)
        joined = {t.room_nid: t.own.position for t in tellings if t.is_joined}
        viewer = reading.viewer
        counts = await self._counts.of(viewer.user_nid, viewer.user_id, joined, reading.upto)
        bumps = await self._bumps(reading, tellings)
        bodies = {}
        for telling in tellings:
            nid = telling.room_nid
            body = RoomBody(telling.own.membership.word, initial=telling.kind is Kind.WHOLE)
            self._add_timeline(reading, telling, body, rendered)
            body.required_state = [rendered[e.event_nid] for e in reading.states.get(nid, ())]
            self._add_description(reading, telling, body)
            if nid in summaries:
                body.joined_count, body.invited_count = (
                    summaries[nid].joined,
                    summaries[nid].invited,
                )
                body.heroes = heroes.get(nid)
            body.counts, body.bump_stamp = counts.get(nid), bumps.get(nid)
            is_dm = reading.ids[nid] in reading.direct
            body.is_dm = is_dm if is_dm or not body.initial else None
            if telling.was_read or not body.is_empty:
                bodies[nid] = body
        return bodies

    def _add_timeline(
        self,
        reading: Reading,
        telling: Telling,
        body: RoomBody,
        rendered: Mapping[int, bytes],
    ) -> None:
        events = reading.events(telling.room_nid)
        body.timeline = [rendered[event.event_nid] for event in events]
        body.expanded_timeline = telling.expands_timeline
        if telling.room_nid in reading.live:
            if events:
                body.prev_batch = str(received_before(events[0]))
        elif telling.room_nid in reading.timelines:
            timeline = reading.timelines[telling.room_nid]
            body.prev_batch, body.limited = timeline.prev_batch, timeline.is_limited
        since = reading.since
        if since is not None and events:
            body.num_live = sum((event.position or 0) > since for event in events)
        elif events:
            body.num_live = 0

    def _add_description(self, reading: Reading, telling: Telling, body: RoomBody) -> None:
        """Add the name and the avatar, if the client does not have them."""
        nid = telling.room_nid
        for key, place, part in (("name", NAME, "name"), ("avatar", AVATAR, "url")):
            if nid in reading.described:
                text = text_of(reading.described[nid], place[0], part)
                if text is not None:
                    body.changed_texts[key] = text
            elif nid in reading.news and reading.news[nid].touches(place[0]):
                body.changed_texts[key] = text_of(reading.news[nid].events, place[0], part)
        if nid in reading.news:
            required = telling.config.required
            own = reading.viewer.user_id
            body.emptied = [p for p in reading.news[nid].emptied if required.matches(*p, own)]

    async def _summaries(self, reading: Reading) -> dict[int, Summary]:
        """Summaries of joined rooms that are told whole, or whose members or name changed."""
        wanted = [t.room_nid for t in reading.of_kind(Kind.WHOLE) if t.is_joined]
        wanted += [
            t.room_nid
            for t in reading.of_kind(Kind.NEWS)
            if t.is_joined
            and t.room_nid in reading.news
            and reading.news[t.room_nid].touches(MEMBER, NAME[0])
        ]
        if not wanted:
            return {}
        nameless = await find_nameless(self._db, self._names, wanted)
        return await read_summaries(self._db, wanted, nameless, reading.viewer.user_nid)

    async def _heroes(self, summaries: Mapping[int, Summary]) -> dict[int, list[HeroShown]]:
        called = {nid: s.heroes for nid, s in summaries.items() if s.heroes is not None}
        events = await get_events(
            self._db, {hero.event_nid for heroes in called.values() for hero in heroes}
        )
        return {
            nid: [
                HeroShown(hero.user_id, events[hero.event_nid].content)
                for hero in heroes
                if hero.event_nid in events
            ]
            for nid, heroes in called.items()
        }

    async def _bumps(self, reading: Reading, tellings: Sequence[Telling]) -> dict[int, int]:
        """The bump stamps that are to be told."""
        found: dict[int, int] = {}
        asked: dict[int, int] = {}
        for telling in tellings:
            nid = telling.room_nid
            if not telling.is_joined:
                found[nid] = telling.own.position
            elif telling.kind is Kind.WHOLE or reading.is_limited(nid):
                asked[nid] = reading.upto
            else:
                said = [e.position or 0 for e in reading.events(nid) if e.type in BUMPS]
                if said:
                    found[nid] = max(said)
        if asked:
            types = await self._names.types.find_nids(BUMPS)
            bumps = await last_bumps(self._db, asked, types.values())
            joined = {t.room_nid: t.own.position for t in tellings}
            found |= {nid: bumps.get(nid, joined[nid]) for nid in asked}
        return found

    async def _render(self, reading: Reading, tellings: Sequence[Telling]) -> dict[int, bytes]:
        """The JSON of all events of the response, by number."""
        live = [added for items in reading.live.values() for added in items]
        rendered = await self._events.render(live, reading.viewer)
        seen = [i for t in reading.timelines.values() for i in t.events]
        encoded = await self._clients.render(seen, reading.viewer, with_room_id=False)
        shown = {item.event.event_nid: one for item, one in zip(seen, encoded, strict=True)}
        state = {
            e.event_nid: e
            for t in tellings
            for e in reading.states.get(t.room_nid, ())
            if e.event_nid not in shown
        }
        told = await self._clients.render_state(list(state.values()), with_room_id=False)
        return rendered | dict(zip(state, told, strict=True)) | shown

    async def _add_stripped(self, reading: Reading, bodies: dict[int, RoomBody]) -> None:
        tellings = {t.room_nid: t for t in reading.of_kind(Kind.STRIPPED)}
        stripped = await read_stripped_states(
            self._db,
            self._names,
            reading.viewer.user_nid,
            {nid: telling.own for nid, telling in tellings.items()},
        )
        for nid, telling in tellings.items():
            bodies[nid] = RoomBody(
                telling.own.membership.word,
                initial=True,
                is_dm=True if reading.ids[nid] in reading.direct else None,
                stripped_state=stripped.get(nid, []),
                bump_stamp=telling.own.position,
            )

    def _sent(self, reading: Reading, telling: Telling) -> SentRoom | None:
        """What the client has of a room once it has the response; None for nothing any more."""
        config, former = telling.config, telling.sent
        if telling.kind is Kind.STRIPPED:
            return SentRoom(LIVE, 0, config.required, Told(0))
        if telling.kind is Kind.FAREWELL:
            return None
        has_left = telling.own.membership is Membership.LEAVE
        if has_left and telling.own.sender_nid == reading.viewer.user_nid:
            return None
        told = former.told if former is not None and telling.kind is Kind.NEWS else Told(0)
        return SentRoom(LIVE, self._depth(reading, telling), self._required(reading, telling), told)

    def _depth(self, reading: Reading, telling: Telling) -> int:
        """How many of the newest events the client has without a gap."""
        limit = telling.config.timeline_limit
        has_skipped = not limit and bool(reading.news.get(telling.room_nid))
        if telling.shows_from_end:
            is_all = bool(limit) and not reading.is_limited(telling.room_nid)
            return WHOLE if is_all else limit
        if telling.sent is None or has_skipped or reading.is_limited(telling.room_nid):
            return limit
        return telling.sent.timeline_limit

    def _required(self, reading: Reading, telling: Telling) -> RequiredState:
        """The state of which the client has all."""
        wanted = telling.config.required
        if telling.kind is Kind.WHOLE or telling.sent is None:
            return wanted
        former = telling.sent.required
        changed = reading.news.get(telling.room_nid, StateNews())
        own = reading.viewer.user_id
        places = [(e.type, e.state_key or "") for e in changed.events] + changed.emptied
        has_missed = any(
            former.matches(*place, own) and not wanted.matches(*place, own) for place in places
        )
        if has_missed or former.covers(wanted):
            return wanted if has_missed else former
        return union((former, wanted))


def users_in(events: Iterable[StoredEvent]) -> set[str]:
    """Those who sent the events, and whose membership they are about."""
    users = set()
    for event in events:
        users.add(event.sender)
        if event.type == MEMBER and event.state_key is not None:
            users.add(event.state_key)
    return users
