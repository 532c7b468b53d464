"""Who is in which room."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import RoomId, UserId
from storage.changes import Membership
from storage.database import Database

SELECT_MEMBERSHIP = """
    SELECT membership FROM memberships WHERE user_nid = $1 AND room_nid = $2
"""


async def find_membership(db: Database, user_nid: int, room_nid: int) -> Membership | None:
    """The user's membership of the room; None for somebody who never was a member."""
    number = await db.fetchval(SELECT_MEMBERSHIP, user_nid, room_nid)
    return None if number is None else Membership(number)


async def is_joined(db: Database, user_nid: int, room_nid: int) -> bool:
    """Whether the user is in the room."""
    return await find_membership(db, user_nid, room_nid) is Membership.JOIN


SELECT_SHARES_ROOM = """
    SELECT EXISTS (
           SELECT FROM memberships AS mine
             JOIN memberships AS theirs ON theirs.room_nid = mine.room_nid
            WHERE mine.user_nid = $1 AND mine.membership = 1
              AND theirs.user_nid = $2 AND theirs.membership = 1)
"""


async def shares_room(db: Database, user_nid: int, other_nid: int) -> bool:
    """Whether both are in some room."""
    return bool(await db.fetchval(SELECT_SHARES_ROOM, user_nid, other_nid))


SELECT_KNOWN_HERE = """
    SELECT wanted.user_nid
      FROM unnest($1::integer[]) AS wanted (user_nid)
     WHERE EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS ours ON ours.room_nid = theirs.room_nid
            WHERE theirs.user_nid = wanted.user_nid AND theirs.membership = 1
              AND ours.membership = 1 AND ours.is_local)
"""


async def users_sharing_rooms(db: Database, user_nids: Iterable[int]) -> set[int]:
    """Those of the users who are in a room together with a user of this server."""
    return {user_nid for (user_nid,) in await db.fetch(SELECT_KNOWN_HERE, list(user_nids))}


SELECT_ROOMS_OF = """
    SELECT r.room_id
      FROM memberships AS m
      JOIN rooms AS r USING (room_nid)
     WHERE m.user_nid = $1 AND m.membership = ANY($2::smallint[])
     ORDER BY m.stream_position
"""


async def rooms_of(db: Database, user_nid: int, *memberships: Membership) -> list[RoomId]:
    """The rooms of which the user has one of these memberships, the oldest first."""
    return [RoomId(row[0]) for row in await db.fetch(SELECT_ROOMS_OF, user_nid, list(memberships))]


SELECT_JOINED_AMONG = """
    SELECT EXISTS (
           SELECT FROM rooms AS r
             JOIN memberships AS m USING (room_nid)
            WHERE r.room_id = ANY($2::text[]) AND m.user_nid = $1 AND m.membership = 1)
"""


async def is_joined_to_any(db: Database, user_nid: int, room_ids: Iterable[str]) -> bool:
    """Whether the user is in at least one of the rooms."""
    return bool(await db.fetchval(SELECT_JOINED_AMONG, user_nid, list(room_ids)))


SELECT_IS_IN_ROOM = """
    SELECT EXISTS (
           SELECT FROM memberships AS m
             JOIN users AS u USING (user_nid)
             JOIN rooms AS r USING (room_nid)
            WHERE u.user_id = $1 AND r.room_id = $2 AND m.membership = 1
              AND (m.is_local OR EXISTS (
                   SELECT FROM memberships AS ours
                    WHERE ours.room_nid = m.room_nid AND ours.membership = 1 AND ours.is_local)))
"""


async def is_in_room(db: Database, user_id: UserId, room_id: str) -> bool:
    """Whether a user, ours or not, is in a room, as far as we know.

    We hear nothing more of a room in which none of our users is.
    """
    return bool(await db.fetchval(SELECT_IS_IN_ROOM, user_id, room_id))


SELECT_HELD = """
    SELECT room_id
      FROM unnest($1::text[]) AS wanted (room_id)
     WHERE EXISTS (
           SELECT FROM rooms AS r
             JOIN memberships AS m USING (room_nid)
            WHERE r.room_id = wanted.room_id AND m.membership = 1 AND m.is_local)
"""


async def rooms_with_local_members(db: Database, room_ids: Iterable[str]) -> set[str]:
    """Those of the rooms that users of this server are in."""
    return {room_id for (room_id,) in await db.fetch(SELECT_HELD, list(room_ids))}


SELECT_LOCAL_JOINED = """
    SELECT u.user_id
      FROM memberships AS m
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = $1 AND m.membership = 1 AND m.is_local
     ORDER BY m.stream_position
     LIMIT $2
"""


async def local_members(db: Database, room_nid: int, limit: int) -> list[UserId]:
    """Users of this server who are in the room, who joined first before the others."""
    return [UserId(user_id) for (user_id,) in await db.fetch(SELECT_LOCAL_JOINED, room_nid, limit)]


SELECT_GUESTS = """
    SELECT u.user_id
      FROM memberships AS m
      JOIN accounts AS a USING (user_nid)
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = $1 AND m.membership = 1 AND a.is_guest
"""


async def guests_in_room(db: Database, room_nid: int) -> list[UserId]:
    """The guests of this server who are in the room."""
    return [UserId(user_id) for (user_id,) in await db.fetch(SELECT_GUESTS, room_nid)]


FORGET = "UPDATE memberships SET forgotten = true WHERE user_nid = $1 AND room_nid = $2"


async def forget_room(db: Database, user_nid: int, room_nid: int) -> None:
    """Note that the user wants to hear nothing more of a room that they have left."""
    await db.execute(FORGET, user_nid, room_nid)


SELECT_DEPARTURES = """
    SELECT departure.snapshot_nid, joined.json
      FROM events AS departure
      JOIN events AS joined ON joined.event_nid = departure.replaces_nid
     WHERE departure.room_nid = $1
       AND departure.place_nid = $2
       AND departure.stream_position IS NOT NULL
     ORDER BY departure.stream_position DESC
"""


async def find_departure(db: Database, room_nid: int, member_place_nid: int) -> int | None:
    """The state of the room when a member last went; None for somebody who never was in it."""
    for snapshot_nid, encoded in await db.fetch(SELECT_DEPARTURES, room_nid, member_place_nid):
        if decode(encoded)["content"].get("membership") == "join":
            return int(snapshot_nid)
    return None


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody's membership of the room after an event."""

    user_nid: int
    sender_nid: int
    event_nid: int
    membership: Membership
    is_local: bool
    stripped_state: bytes | None = None
    """What is known of a room that one is not in, as a JSON array."""
    forgotten: bool = False
    """Whether somebody who leaves has forgotten the room at once."""


UPSERT_MEMBERS = """
    INSERT INTO memberships (
           user_nid, room_nid, event_nid, stream_position, sender_nid, membership, is_local,
           stripped_state, forgotten)
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[],
                         $6::smallint[], $7::boolean[], $8::bytea[], $9::boolean[])
    ON CONFLICT (user_nid, room_nid) DO UPDATE
       SET event_nid = excluded.event_nid,
           stream_position = excluded.stream_position,
           sender_nid = excluded.sender_nid,
           membership = excluded.membership,
           stripped_state = excluded.stripped_state,
           forgotten = excluded.forgotten
"""


async def change_memberships(
    db: Database, changes: Iterable[tuple[int, int, MemberChange]]
) -> None:
    """Change memberships, by room and stream position; of the same user the last change counts."""
    latest = {
        (member.user_nid, room_nid): (
            member.user_nid,
            room_nid,
            member.event_nid,
            position,
            member.sender_nid,
            member.membership,
            member.is_local,
            member.stripped_state,
            member.forgotten,
        )
        for room_nid, position, member in changes
    }
    if latest:
        await db.execute(UPSERT_MEMBERS, *map(list, zip(*latest.values(), strict=True)))
