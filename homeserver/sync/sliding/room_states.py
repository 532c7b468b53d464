"""The state of rooms that clients require, for all rooms of a response at once.

Source: MSC4186, `required_state`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.protocol.auth_events import member_place
from federation.protocol.pdu import StateKey
from homeserver.sync.room_states import (
    SELECT_CURRENT_WITHOUT_MEMBERS,
    StateWanted,
    TimelineShown,
    read_members,
    roll_back,
    snapshots_at,
)
from homeserver.sync.sliding.required_state import MEMBER, RequiredState
from homeserver.sync.timelines import BEGINNING
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row, get_events
from storage.names import Names
from storage.room_state import REMOVED, find_changes, get_states

SELECT_CURRENT_OF_TYPES = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN state_places AS p USING (place_nid)
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[])
       AND NOT s.is_member
       AND p.type_nid = ANY($2::integer[])
"""  # noqa: S608 - constants of ours

SELECT_CURRENT_MEMBERS = f"""
    SELECT {COLUMNS}
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.is_member
"""  # noqa: S608

SELECT_OF_TYPES = """
    SELECT place_nid
      FROM state_places
     WHERE place_nid = ANY($1::integer[]) AND type_nid = ANY($2::integer[])
"""


@dataclass(slots=True)
class StateNews:
    """What changed in a room's state: the events now at their places, and places now empty."""

    events: list[StoredEvent] = field(default_factory=list)
    emptied: list[StateKey] = field(default_factory=list)

    def touches(self, *types: str) -> bool:
        """Whether state of one of these types has changed."""
        return any(e.type in types for e in self.events) or any(
            event_type in types for event_type, _ in self.emptied
        )


class RequiredStates:
    """Reads state for one user's rooms."""

    def __init__(self, db: Database, names: Names, user_id: str) -> None:
        self._db = db
        self._names = names
        self._user_id = user_id

    async def current(
        self, asked: Mapping[int, RequiredState], upto: int, also: Iterable[StateKey] = ()
    ) -> dict[int, list[StoredEvent]]:
        """What is required of the rooms' state as of `upto`; `also` these places, of all rooms."""
        if not asked:
            return {}
        places = list(also)
        events = await self._without_members(asked, {event_type for event_type, _ in places})
        crowded = [nid for nid, required in asked.items() if required.wants_all_members]
        if crowded:
            rows = await self._db.fetch(SELECT_CURRENT_MEMBERS, crowded)
            events += [event_of_row(row) for row in rows]
        named = {
            nid: required.members_named(self._user_id)
            for nid, required in asked.items()
            if not required.wants_all_members
        }
        events += await self.members(named)
        found: dict[int, list[StoredEvent]] = {nid: [] for nid in asked}
        for event in events:
            place = (event.type, event.state_key or "")
            if place in places or asked[event.room_nid].matches(*place, self._user_id):
                found[event.room_nid].append(event)
        return await self.as_of(upto, found)

    async def members(self, users: Mapping[int, Iterable[str]]) -> list[StoredEvent]:
        """The current member events of users, by room."""
        everyone = {member_place(user) for part in users.values() for user in part}
        if not everyone:
            return []
        nids = await self._names.places.find_nids(everyone)
        wanted = [
            StateWanted(
                room_nid,
                frozenset(),
                frozenset(nids[p] for user in part if (p := member_place(user)) in nids),
            )
            for room_nid, part in users.items()
        ]
        return await read_members(self._db, wanted)

    async def as_of(
        self, upto: int, found: Mapping[int, Sequence[StoredEvent]]
    ) -> dict[int, list[StoredEvent]]:
        """The events that stood at the places of current ones at a position."""
        shown = {nid: TimelineShown({}, upto, BEGINNING) for nid in found}
        return await roll_back(self._db, found, shown)

    async def at_end(
        self, departures: Mapping[int, StoredEvent], asked: Mapping[int, RequiredState]
    ) -> dict[int, list[StoredEvent]]:
        """What is required of the states that rooms had when the user went."""
        snapshots = {
            nid: event.snapshot_nid
            for nid, event in departures.items()
            if event.snapshot_nid is not None
        }
        if not snapshots:
            return {}
        states = await get_states(self._db, snapshots.values())
        wanted = await self._places_of(asked, {p for state in states.values() for p in state})
        nids = {
            nid
            for snapshot in snapshots.values()
            for place, nid in states[snapshot].items()
            if place in wanted
        }
        found: dict[int, list[StoredEvent]] = {nid: [] for nid in departures}
        for event in (await get_events(self._db, nids)).values():
            if asked[event.room_nid].matches(event.type, event.state_key or "", self._user_id):
                found[event.room_nid].append(event)
        return found

    async def changes(self, spans: Mapping[int, tuple[int, int]]) -> dict[int, StateNews]:
        """What changed in the state of each room between two positions."""
        if not spans:
            return {}
        before = await snapshots_at(self._db, {nid: since for nid, (since, _) in spans.items()})
        after = await snapshots_at(self._db, {nid: end for nid, (_, end) in spans.items()})
        pairs = {
            nid: (before.get(nid), end)
            for nid, end in after.items()
            if end is not None and before.get(nid) != end
        }
        changes = await find_changes(self._db, pairs) if pairs else {}
        stored = await get_events(
            self._db, [e for room in changes.values() for e in room.values() if e != REMOVED]
        )
        emptied = await self._names.places.get_places(
            place for room in changes.values() for place, e in room.items() if e == REMOVED
        )
        news = {nid: StateNews() for nid in spans}
        for nid, room in changes.items():
            news[nid].events = [stored[e] for e in room.values() if e in stored]
            news[nid].emptied = [emptied[p] for p, e in room.items() if e == REMOVED]
        return news

    async def _without_members(
        self, asked: Mapping[int, RequiredState], also: set[str]
    ) -> list[StoredEvent]:
        """All state but members of the types that any of the rooms wants."""
        everything = [nid for nid, required in asked.items() if required.types is None]
        rest = [nid for nid, required in asked.items() if required.types is not None]
        rows = []
        if everything:
            rows += await self._db.fetch(SELECT_CURRENT_WITHOUT_MEMBERS, everything)
        types = also.union(*(asked[nid].types or () for nid in rest)) - {MEMBER}
        if rest and types:
            nids = await self._names.types.find_nids(types)
            rows += await self._db.fetch(SELECT_CURRENT_OF_TYPES, rest, list(nids.values()))
        return [event_of_row(row) for row in rows]

    async def _places_of(self, asked: Mapping[int, RequiredState], places: set[int]) -> set[int]:
        """Those of the places that any of the rooms may want."""
        if any(required.types is None for required in asked.values()):
            return places
        types = set[str]().union(*(required.types or () for required in asked.values()))
        is_crowded = any(required.wants_all_members for required in asked.values())
        nids = await self._names.types.find_nids(types - (set() if is_crowded else {MEMBER}))
        rows = await self._db.fetch(SELECT_OF_TYPES, list(places), list(nids.values()))
        named = set[str]().union(*(r.members_named(self._user_id) for r in asked.values()))
        members = await self._names.places.find_nids(map(member_place, named))
        return {row[0] for row in rows} | (set(members.values()) & places)
