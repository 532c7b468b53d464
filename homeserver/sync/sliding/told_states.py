"""Reads what a response tells of the state of its rooms, for all of them at once."""

from collections.abc import Iterable, Sequence

from federation.protocol.auth_events import member_place
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.sync.sliding.plan import OUTSIDE, Kind, Telling
from homeserver.sync.sliding.reading import Reading
from homeserver.sync.sliding.required_state import MEMBER, RequiredState
from homeserver.sync.sliding.room_states import RequiredStates
from homeserver.sync.timelines import Timeline
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names

NAME = ("m.room.name", "")
AVATAR = ("m.room.avatar", "")


class StateReader:
    """Reads the state of rooms for one viewer."""

    def __init__(self, db: Database, names: Names, user_id: str) -> None:
        self._db = db
        self._names = names
        self._states = RequiredStates(db, names, user_id)

    async def read(self, reading: Reading) -> None:
        """Add to the reading what is told of each room's state; it has the timelines already."""
        await self._add_required(reading)
        await self._add_lazy_members(reading)

    async def _add_required(self, reading: Reading) -> None:
        whole = [telling for telling in reading.of_kind(Kind.WHOLE) if telling.is_joined]
        found = await self._states.current(
            {t.room_nid: t.config.required for t in whole}, reading.upto, (NAME, AVATAR)
        )
        for telling in whole:
            events = found[telling.room_nid]
            reading.described[telling.room_nid] = events
            reading.states[telling.room_nid] = self._select(
                reading, events, telling.config.required
            )
        news = [t for t in reading.of_kind(Kind.NEWS) if t.room_nid not in reading.live]
        reading.news = await self._states.changes(
            {t.room_nid: (t.since, t.end(reading.upto)) for t in news}
        )
        for telling in news:
            reading.states[telling.room_nid] = self._changed(reading, telling)
        await self._add_newly_required(reading, news)
        await self._add_departures(reading)

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

    async def _add_newly_required(self, reading: Reading, news: Sequence[Telling]) -> None:
        """Add state that is required now and was not before."""
        grown = {t.room_nid: t for t in news if t.former_state is not None and t.is_joined}
        found = await self._states.current(
            {nid: t.config.required for nid, t in grown.items()}, reading.upto
        )
        for nid, telling in grown.items():
            former = telling.former_state
            had = [] if former is None else self._select(reading, found[nid], former)
            known = {event.event_nid for event in (*reading.states[nid], *had)}
            reading.states[nid] += [e for e in found[nid] if e.event_nid not in known]

    async def _add_departures(self, reading: Reading) -> None:
        """Add how the user went, and of rooms that are told whole the state there was then."""
        over = [t for t in reading.tellings if t.own.membership in OUTSIDE]
        if not over:
            return
        events = await get_events(self._db, [t.own.event_nid for t in over])
        departures = {t.room_nid: events[t.own.event_nid] for t in over}
        whole = {t.room_nid: t.config.required for t in over if t.kind is Kind.WHOLE}
        found = await self._states.at_end({nid: departures[nid] for nid in whole}, whole)
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

    async def _add_lazy_members(self, reading: Reading) -> None:
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
        members = await self._states.members(
            {nid: users for nid, users in missing.items() if users}
        )
        by_room: dict[int, list[StoredEvent]] = {}
        for member in members:
            by_room.setdefault(member.room_nid, []).append(member)
        for nid, events in (await self._states.as_of(reading.upto, by_room)).items():
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


def users_in(events: Iterable[StoredEvent]) -> set[str]:
    """Those who sent the events, and whose membership they are about."""
    users = set()
    for event in events:
        users.add(event.sender)
        if event.type == MEMBER and event.state_key is not None:
            users.add(event.state_key)
    return users
