"""Which events of a room another server may see, by the states that the room had at them.

The history visibility at all events is looked up at once. Where it lets everybody read who is in
the room now, that is all; only for what is left are the memberships of the server's users at the
events looked up: first of a few users who have been there the longest, which mostly settles it.
Source: client-server API, "Room History Visibility".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.auth_events import member_place
from federation.protocol.canonical_json import decode
from federation.protocol.visibility import (
    HISTORY_VISIBILITY,
    HistoryVisibility,
    is_visible,
    visibility_of,
)
from storage.database import Database
from storage.event_graph import GraphEvent, get_json
from storage.names import Names
from storage.room_servers import events_at_places, is_joined_after, users_of_server
from storage.room_state import get_places_at

FIRST_ASKED = 20
"""Users of a server whose memberships are looked up before those of all others."""

NEVER_MEMBERS = frozenset({"leave"})


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A server that wants to see events of a room."""

    server_name: str
    room_nid: int
    is_in_room: bool


async def find_hidden(
    db: Database, names: Names, onlooker: Onlooker, events: Sequence[GraphEvent]
) -> set[int]:
    """The numbers of those of the events that a server may not see.

    Of events without a known state, those are hidden from a server that is not in the room; who is
    in it gets them with the room's state anyway.
    """
    hidden = {e.event_nid for e in events if e.snapshot_nid is None and not onlooker.is_in_room}
    placed = [event for event in events if event.snapshot_nid is not None]
    visibilities = await _visibilities_around(db, names, placed)
    undecided = [
        event
        for event in placed
        if not any(_is_open(v, onlooker) for v in visibilities[event.event_nid])
    ]
    if not undecided:
        return hidden
    users = await users_of_server(db, onlooker.room_nid, onlooker.server_name)
    found = await names.places.find_nids(member_place(user) for user in users)
    places = list(found.values())
    for part in (places[:FIRST_ASKED], places[FIRST_ASKED:]):
        memberships = await _memberships_around(db, part, undecided)
        undecided = [
            event
            for event in undecided
            if not is_seen(visibilities[event.event_nid], memberships[event.event_nid])
        ]
        if not undecided:
            return hidden
    if not onlooker.is_in_room:
        undecided = await _unshared(db, onlooker, places, undecided, visibilities)
    return hidden | {event.event_nid for event in undecided}


def is_seen(
    visibilities: Iterable[HistoryVisibility],
    memberships: Iterable[str],
    *,
    joined_afterwards: bool = False,
) -> bool:
    """Whether any visibility lets any of the memberships see an event."""
    return any(
        is_visible(visibility, membership, joined_afterwards=joined_afterwards)
        for visibility in visibilities
        for membership in memberships
    )


def _is_open(visibility: HistoryVisibility, onlooker: Onlooker) -> bool:
    """Whether a server sees an event without a look at the memberships of that time.

    Whoever is in the room now was in it at any event or joined afterwards.
    """
    return is_visible(visibility, "leave", joined_afterwards=onlooker.is_in_room)


async def _visibilities_around(
    db: Database, names: Names, events: Sequence[GraphEvent]
) -> dict[int, set[HistoryVisibility]]:
    """The history visibility before and after each event."""
    place = await names.places.get_nid(HISTORY_VISIBILITY)
    states = await get_places_at(db, {e.snapshot_nid or 0 for e in events}, (place,))
    around = {
        event.event_nid: {states[event.snapshot_nid or 0].get(place)}
        | ({event.replaces_nid} if event.place_nid == place else set())
        for event in events
    }
    wanted = {nid for nids in around.values() for nid in nids if nid is not None}
    contents = await get_json(db, wanted) if wanted else {}
    told = {nid: visibility_of(decode(encoded)["content"]) for nid, encoded in contents.items()}
    default = visibility_of(None)
    return {
        event_nid: {told.get(nid or 0, default) for nid in nids}
        for event_nid, nids in around.items()
    }


async def _memberships_around(
    db: Database, member_places: Sequence[int], events: Sequence[GraphEvent]
) -> Mapping[int, frozenset[str]]:
    """The memberships that any of some users had before and after each event."""
    own = set(member_places)
    states: Mapping[int, set[int]] = {}
    if own:
        states = await events_at_places(db, {e.snapshot_nid or 0 for e in events}, own)
    around = {
        event.event_nid: states.get(event.snapshot_nid or 0, set())
        | ({event.replaces_nid or 0} if event.place_nid in own else set())
        for event in events
    }
    wanted = set().union(*around.values()) - {0}
    contents = await get_json(db, wanted) if wanted else {}
    told = {
        nid: str(decode(encoded)["content"].get("membership")) for nid, encoded in contents.items()
    }
    return {
        event_nid: NEVER_MEMBERS | {told[nid] for nid in nids if nid in told}
        for event_nid, nids in around.items()
    }


async def _unshared(
    db: Database,
    onlooker: Onlooker,
    member_places: Sequence[int],
    events: Sequence[GraphEvent],
    visibilities: Mapping[int, set[HistoryVisibility]],
) -> list[GraphEvent]:
    """Those of the events that the server does not see by having joined later, and left again."""
    unshared = []
    for event in events:
        if HistoryVisibility.SHARED in visibilities[event.event_nid] and event.position is not None:
            joined = await is_joined_after(db, onlooker.room_nid, member_places, event.position)
            if joined:
                continue
        unshared.append(event)
    return unshared
