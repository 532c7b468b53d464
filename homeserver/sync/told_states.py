"""Which state of each room a catch-up tells: all of it, what changed, or some members.

Source: client-server API, `GET /sync`, `state` and `state_after`; "Lazy-loading room members".
"""

from collections.abc import Iterable, Mapping, Sequence

from federation.protocol.auth_events import member_place
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.reading import Reading
from homeserver.sync.room_states import (
    StateWanted,
    TimelineShown,
    read_current_states,
    read_members,
    roll_back,
    select_state,
    snapshots_at,
)
from homeserver.sync.summaries import Summary
from homeserver.sync.timelines import BEGINNING
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.room_state import REMOVED, find_changes, get_states


class ToldStates:
    """Reads the states of the rooms of one response, all rooms at once."""

    def __init__(self, db: Database, names: Names, lazy: LazyMembers) -> None:
        self._db = db
        self._names = names
        self._lazy = lazy

    async def read(
        self, reading: Reading, shown: Sequence[int], summaries: Mapping[int, Summary]
    ) -> dict[int, list[StoredEvent]]:
        """The state to tell of each room."""
        lazy = reading.request.wanted.room.state.lazy_load_members
        members = await self._member_places(reading, shown, summaries) if lazy else {}
        sections = reading.sections
        inside = [nid for nid in shown if nid not in sections.outside]
        whole = [nid for nid in inside if reading.is_whole(nid) and nid in sections.joined]
        whole_left = [nid for nid in inside if reading.is_whole(nid) and nid in sections.left]
        partly = [nid for nid in inside if not reading.is_whole(nid) and needs_state(reading, nid)]
        found: dict[int, list[StoredEvent]] = {}
        if whole:
            asked = [
                StateWanted(nid, frozenset(), frozenset(members[nid]) if lazy else None)
                for nid in whole
            ]
            found |= await read_current_states(self._db, asked)
        found |= await self._left_states(reading, whole_left)
        if reading.request.state_after:
            found |= await self._departures(reading, set(shown) & sections.outside)
        found |= await self._changed_states(reading, partly)
        if lazy:
            await self._add_lazy_members(reading, found, members, set(whole))
        return await self._at_start_of_timelines(reading, found, members if lazy else None)

    async def _at_start_of_timelines(
        self,
        reading: Reading,
        found: Mapping[int, Sequence[StoredEvent]],
        members: Mapping[int, set[int]] | None,
    ) -> dict[int, list[StoredEvent]]:
        timelines = {}
        for nid in found:
            timeline = reading.timelines.get(nid)
            items = timeline.events if timeline and not reading.request.state_after else ()
            shown = {item.event.event_nid: item.event for item in items}
            known = BEGINNING if reading.is_whole(nid) or members is not None else reading.since
            upto = (
                reading.sections.left[nid].position
                if nid in reading.sections.left
                else reading.upto
            )
            timelines[nid] = TimelineShown(shown, upto, known)
        states = await roll_back(self._db, found, timelines)
        wanted = reading.request.wanted.room.state
        return {nid: select_state(unique(events), wanted) for nid, events in states.items()}

    async def _left_states(
        self, reading: Reading, room_nids: Sequence[int]
    ) -> dict[int, list[StoredEvent]]:
        """The whole states of rooms as the user left them."""
        if not room_nids:
            return {}
        left = reading.sections.left
        events = await get_events(self._db, [left[nid].event_nid for nid in room_nids])
        snapshots = {
            event.room_nid: event.snapshot_nid
            for event in events.values()
            if event.snapshot_nid is not None
        }
        states = await get_states(self._db, snapshots.values())
        wanted = [nid for state in states.values() for nid in state.values()]
        stored = await get_events(self._db, wanted)
        return {
            room_nid: [stored[nid] for nid in states[snapshot].values()]
            for room_nid, snapshot in snapshots.items()
        }

    async def _departures(
        self, reading: Reading, room_nids: Iterable[int]
    ) -> dict[int, list[StoredEvent]]:
        """How the user's invites, knocks and bans ended, which is all the user may know of rooms.

        Clients that are told the state at the end take none from the timeline.
        """
        left = reading.sections.left
        events = await get_events(self._db, [left[nid].event_nid for nid in room_nids])
        return {event.room_nid: [event] for event in events.values()}

    async def _changed_states(
        self, reading: Reading, room_nids: Sequence[int]
    ) -> dict[int, list[StoredEvent]]:
        """The events at the places of each room's state that changed since the token."""
        if not room_nids:
            return {}
        left = reading.sections.left
        ends = {nid: left[nid].position if nid in left else reading.upto for nid in room_nids}
        before = await snapshots_at(self._db, dict.fromkeys(room_nids, reading.since))
        after = await snapshots_at(self._db, ends)
        pairs = {nid: (before.get(nid), end) for nid, end in after.items() if end is not None}
        changes = await find_changes(self._db, pairs)
        nids = [e for room in changes.values() for e in room.values() if e != REMOVED]
        stored = await get_events(self._db, nids)
        return {
            room_nid: [stored[nid] for nid in room.values() if nid in stored]
            for room_nid, room in changes.items()
        }

    async def _member_places(
        self, reading: Reading, shown: Iterable[int], summaries: Mapping[int, Summary]
    ) -> dict[int, set[int]]:
        """Which members to tell of each room when members are loaded lazily."""
        users: dict[int, set[str]] = {}
        for nid in shown:
            timeline = reading.timelines.get(nid)
            users[nid] = {item.event.sender for item in timeline.events} if timeline else set()
            if nid in summaries:
                users[nid] |= summaries[nid].hero_ids
            if reading.is_whole(nid):
                users[nid].add(reading.follower.user_id)
        everyone = {member_place(user) for part in users.values() for user in part}
        places = await self._names.places.get_nids(everyone)
        return {nid: {places[member_place(user)] for user in part} for nid, part in users.items()}

    async def _add_lazy_members(
        self,
        reading: Reading,
        found: dict[int, list[StoredEvent]],
        members: Mapping[int, set[int]],
        whole: set[int],
    ) -> None:
        """Reduce members of whole states to the wanted ones; add those that the device lacks.

        Members that changed are told, all of them: they keep the list up to date that a client
        has asked for elsewhere.
        """
        device_nid = reading.request.viewer.device_nid
        redundant = reading.request.wanted.room.state.include_redundant_members
        asked = []
        for nid, places in members.items():
            if nid in reading.sections.outside:
                continue
            if nid in whole:
                self._lazy.forget(device_nid, [nid])
                self._lazy.note(device_nid, nid, places, reading.upto)
                continue
            told = found.setdefault(nid, [])
            if reading.is_whole(nid):
                told[:] = [e for e in told if e.type != "m.room.member" or e.place_nid in places]
            changed = {event.place_nid for event in told if event.type == "m.room.member"}
            unsent = self._lazy.unsent(device_nid, nid, places, reading.since)
            self._lazy.note(device_nid, nid, places, reading.upto)
            unsent = (places if redundant else unsent) - changed
            if unsent:
                asked.append(StateWanted(nid, frozenset(), frozenset(unsent)))
        for event in await read_members(self._db, asked):
            found[event.room_nid].append(event)


def needs_state(reading: Reading, room_nid: int) -> bool:
    """Whether the state of a room may have changed outside its timeline."""
    timeline = reading.timelines.get(room_nid)
    if timeline is None:
        return True
    if reading.request.state_after:
        # The end of a fork may change the state whatever it is itself.
        return not timeline.is_complete or bool(timeline.events)
    return not timeline.is_complete


def unique(events: Iterable[StoredEvent]) -> list[StoredEvent]:
    """Each event once."""
    return list({event.event_nid: event for event in events}.values())
