"""Reads what the rooms of a response are to be told with, for all of them at once.

The number of queries does not depend on how many rooms there are. Rooms in which nothing but
messages came while the client kept up are told from the window of the stream, without a query.
"""

from collections.abc import Mapping, Sequence

from federation.protocol.filters import NO_FILTER
from homeserver.push.counts import UnreadCounts
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.history_token import received_before
from homeserver.rooms.history_visibility import OwnMembership
from homeserver.sync.sliding.plan import Kind, Telling
from homeserver.sync.sliding.reading import Reading, RoomsRead
from homeserver.sync.sliding.remembered import sent_after
from homeserver.sync.sliding.room_body import HeroShown, RoomBody, text_of
from homeserver.sync.sliding.told_states import AVATAR, NAME, StateReader
from homeserver.sync.stripped import read_stripped_states
from homeserver.sync.summaries import SUMMARISED, Summary, find_nameless, read_summaries
from homeserver.sync.timelines import BEGINNING, Span, read_timelines
from homeserver.sync.window_events import WindowEvents
from storage.bumps import last_bumps
from storage.changes import EventAdded
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.stream import Stream

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
        states = StateReader(self._db, self._names, reading.viewer.user_id)
        self._take_from_window(reading)
        await self._read_timelines(reading)
        await states.read(reading)
        bodies = await self._build(reading)
        await self._add_stripped(reading, bodies)
        return RoomsRead(
            {reading.ids[nid]: body for nid, body in bodies.items()},
            {t.room_nid: sent_after(reading, t) for t in reading.tellings},
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
            and reading.news[t.room_nid].touches(*SUMMARISED)
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
