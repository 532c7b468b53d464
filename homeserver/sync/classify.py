"""Which section of a response each room of a user goes into.

Source: client-server API, `GET /sync`, the keys of `rooms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.protocol.auth_events import member_place
from federation.protocol.canonical_json import decode
from homeserver.sync.followers import Follower, RoomMembership
from storage.changes import Membership
from storage.database import Database
from storage.events import get_events
from storage.names import Names
from storage.visible_rooms import forgotten_among

SELECT_MEMBERSHIP_AT = """
    SELECT r.room_nid, e.json
      FROM unnest($1::integer[], $2::bigint[]) AS r (room_nid, position)
     CROSS JOIN LATERAL (
           SELECT json
             FROM events
            WHERE events.room_nid = r.room_nid
              AND events.place_nid = $3
              AND events.stream_position <= r.position
            ORDER BY events.stream_position DESC
            LIMIT 1) AS e
"""


@dataclass(slots=True)
class Sections:
    """Rooms by section.

    `new` are those of `joined` and `left` that the client knows nothing of, `outside` those of
    `left` that the user was not in before: somebody who turned down an invite, for instance.
    """

    joined: dict[int, RoomMembership] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)
    outside: set[int] = field(default_factory=set)
    left: dict[int, RoomMembership] = field(default_factory=dict)
    invited: dict[int, RoomMembership] = field(default_factory=dict)
    knocked: dict[int, RoomMembership] = field(default_factory=dict)


async def classify_all(
    db: Database, follower: Follower, upto: int, *, include_left: bool
) -> Sections:
    """The sections of an initial sync.

    Rooms that the user has left are shown if wanted. Those that others put the user out of always
    are: nobody else tells somebody who was banned while no client was there to hear it.
    """
    sections = Sections()
    for room_nid, own in follower.rooms.items():
        if own.position <= upto:
            was_put_out = own.sender_nid != follower.user_nid
            _put(sections, room_nid, own, with_left=include_left or was_put_out)
    await _drop_forgotten(db, follower, sections)
    sections.new = {*sections.joined, *sections.left}
    sections.outside = await _outside(db, sections.left)
    return sections


async def classify_changed(
    db: Database, names: Names, follower: Follower, since: int, upto: int
) -> Sections:
    """The sections of an incremental sync; `joined` has every room the user is in."""
    sections = Sections()
    moved = []
    for room_nid, own in follower.rooms.items():
        if own.position > upto:
            continue
        if own.position > since:
            moved.append(room_nid)
            _put(sections, room_nid, own, with_left=True)
        elif own.membership is Membership.JOIN:
            sections.joined[room_nid] = own
    # A room that was left and forgotten is told of too, or other devices would keep it for ever.
    if moved:
        before = await memberships_at(db, names, follower, dict.fromkeys(moved, since))
        unknown = {nid for nid in moved if before.get(nid) != "join"}
        sections.new = unknown & {*sections.joined, *sections.left}
        sections.outside = await _outside(db, sections.left)
    return sections


async def _drop_forgotten(db: Database, follower: Follower, sections: Sections) -> None:
    """Leave out the left rooms that the user has forgotten."""
    if sections.left:
        for room_nid in await forgotten_among(db, follower.user_nid, sections.left):
            del sections.left[room_nid]


async def _outside(db: Database, left: Mapping[int, RoomMembership]) -> set[int]:
    """Those of the left rooms whose user did not leave by being in them until then."""
    if not left:
        return set()
    leaves = await get_events(db, [own.event_nid for own in left.values()])
    replaced = await get_events(db, [e.replaces_nid for e in leaves.values() if e.replaces_nid])
    inside = {e.room_nid for e in replaced.values() if e.content.get("membership") == "join"}
    return left.keys() - inside


async def memberships_at(
    db: Database, names: Names, follower: Follower, positions: Mapping[int, int]
) -> dict[int, str]:
    """The user's membership of each room as of a position (by room), where there was one."""
    place = await names.places.get_nid(member_place(follower.user_id))
    rows = await db.fetch(SELECT_MEMBERSHIP_AT, list(positions), list(positions.values()), place)
    return {
        room_nid: str(decode(encoded)["content"].get("membership")) for room_nid, encoded in rows
    }


def _put(sections: Sections, room_nid: int, own: RoomMembership, *, with_left: bool) -> None:
    match own.membership:
        case Membership.JOIN:
            sections.joined[room_nid] = own
        case Membership.INVITE:
            sections.invited[room_nid] = own
        case Membership.KNOCK:
            sections.knocked[room_nid] = own
        case Membership.LEAVE | Membership.BAN:
            if with_left:
                sections.left[room_nid] = own
