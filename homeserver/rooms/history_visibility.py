"""Which events of a room a user may see, by the states that the room had at them.

Whoever is joined sees everything since the latest event of that membership without a question.
For older events the state at each event decides: the history visibility there, and the user's
membership there and now. Changes of one's own membership are never hidden from oneself. States
are looked up for all events of a page at once.
Source: client-server API, "Room history visibility".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from federation.protocol.auth_events import member_place
from federation.protocol.canonical_json import decode
from federation.protocol.visibility import HISTORY_VISIBILITY, is_visible, visibility_of
from homeserver.rooms.viewer import Viewer
from storage.changes import Membership, StoredEvent
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.room_state import get_places_at

NEVER = -(2**63)
FOR_EVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event that the viewer may see, and the viewer's membership when it was sent."""

    event: StoredEvent
    membership: str


@dataclass(frozen=True, slots=True)
class OwnMembership:
    """A user's present membership of a room and the stream position of its event."""

    membership: Membership
    position: int
    event_nid: int
    forgotten: bool


SELECT_MEMBERSHIPS = """
    SELECT room_nid, membership, stream_position, event_nid, forgotten
      FROM memberships
     WHERE user_nid = $1 AND room_nid = ANY($2::integer[])
"""


async def get_memberships(
    db: Database, user_nid: int, room_nids: Iterable[int]
) -> dict[int, OwnMembership]:
    """The user's present memberships of those of the rooms where there is one."""
    rows = await db.fetch(SELECT_MEMBERSHIPS, user_nid, list(room_nids))
    return {
        room_nid: OwnMembership(Membership(membership), position, event_nid, forgotten)
        for room_nid, membership, position, event_nid, forgotten in rows
    }


async def see_events(
    db: Database,
    names: Names,
    viewer: Viewer,
    events: Sequence[StoredEvent],
    memberships: Mapping[int, OwnMembership] | None = None,
) -> list[SeenEvent]:
    """Those of the events, of any rooms and in the order given, that the viewer may see."""
    if memberships is None:
        memberships = await get_memberships(db, viewer.user_nid, {e.room_nid for e in events})
    uncertain = [event for event in events if not _is_since_join(event, memberships)]
    verdicts = await _look_at(db, names, viewer, uncertain, memberships) if uncertain else {}
    seen = []
    for event in events:
        membership = verdicts.get(event.event_nid, "join")
        if membership is not None:
            seen.append(SeenEvent(event, membership))
    return seen


def _is_since_join(event: StoredEvent, memberships: Mapping[int, OwnMembership]) -> bool:
    own = memberships.get(event.room_nid)
    return (
        own is not None
        and own.membership is Membership.JOIN
        and event.position is not None
        and event.position >= own.position
    )


async def _look_at(
    db: Database,
    names: Names,
    viewer: Viewer,
    events: Sequence[StoredEvent],
    memberships: Mapping[int, OwnMembership],
) -> dict[int, str | None]:
    """For each event the viewer's membership at it, or None if it is hidden from the viewer."""
    own_place = member_place(viewer.user_id)
    places = await names.places.get_nids([HISTORY_VISIBILITY, own_place])
    states = await get_places_at(
        db, {e.snapshot_nid for e in events if e.snapshot_nid is not None}, places.values()
    )
    wanted = {nid for state in states.values() for nid in state.values()}
    wanted |= {e.replaces_nid for e in events if e.replaces_nid is not None}
    found = await get_events(db, wanted)
    joined_until = await get_joined_until(
        db, places[own_place], {e.room_nid for e in events}, memberships
    )
    verdicts: dict[int, str | None] = {}
    for event in events:
        state = states.get(event.snapshot_nid or 0)
        if state is None or event.position is None:
            verdicts[event.event_nid] = None
            continue
        visibilities = _around(event, places[HISTORY_VISIBILITY], state, found)
        memberships_at = _around(event, places[own_place], state, found)
        words = [_membership(member) for member in memberships_at]
        visible = any(
            is_visible(
                visibility_of(None if visibility is None else visibility.content),
                word,
                joined_afterwards=event.position <= joined_until.get(event.room_nid, NEVER),
            )
            for visibility in visibilities
            for word in words
        )
        is_own = event.place_nid == places[own_place]
        verdicts[event.event_nid] = words[-1] if visible or is_own else None
    return verdicts


def _around(
    event: StoredEvent, place_nid: int, state: Mapping[int, int], found: Mapping[int, StoredEvent]
) -> list[StoredEvent | None]:
    """What stands at a place of the state before and after an event; once if that is the same."""
    after_nid = state.get(place_nid)
    after = found.get(after_nid) if after_nid is not None else None
    if event.place_nid != place_nid:
        return [after]
    before = found.get(event.replaces_nid) if event.replaces_nid is not None else None
    return [before, after]


def _membership(event: StoredEvent | None) -> str:
    word = None if event is None else event.content.get("membership")
    return word if isinstance(word, str) else "leave"


SELECT_OWN_EVENTS = """
    SELECT room_nid, stream_position, json
      FROM events
     WHERE room_nid = ANY($1::integer[])
       AND place_nid = $2
       AND stream_position IS NOT NULL
     ORDER BY stream_position
"""


async def get_joined_until(
    db: Database,
    own_place_nid: int,
    room_nids: Iterable[int],
    memberships: Mapping[int, OwnMembership],
) -> dict[int, int]:
    """For each room the last position at which the user was joined; absent if never."""
    joined = {
        nid
        for nid in room_nids
        if nid in memberships and memberships[nid].membership is Membership.JOIN
    }
    until = dict.fromkeys(joined, FOR_EVER)
    gone = [nid for nid in room_nids if nid in memberships and nid not in joined]
    if gone:
        was_joined: dict[int, bool] = {}
        for room_nid, position, encoded in await db.fetch(SELECT_OWN_EVENTS, gone, own_place_nid):
            if was_joined.get(room_nid):
                until[room_nid] = position
            was_joined[room_nid] = decode(encoded)["content"].get("membership") == "join"
    return until
