"""The other servers in rooms, with the state of the room for which that holds."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from storage.database import Database

SELECT_HEADS = """
    SELECT room_nid, snapshot_nid FROM room_heads WHERE room_nid = ANY($1::integer[])
"""


async def head_snapshots(db: Database, room_nids: Iterable[int]) -> dict[int, int | None]:
    """The current states of rooms, by their numbers."""
    return dict(await db.fetch(SELECT_HEADS, list(room_nids)))


SELECT_PARTICIPANTS = """
    SELECT head.room_nid, head.snapshot_nid, others.server, others.joined
      FROM room_heads AS head
      LEFT JOIN LATERAL (
           SELECT substr(u.user_id, strpos(u.user_id, ':') + 1) AS server,
                  count(*) FILTER (WHERE m.membership = 1) AS joined
             FROM memberships AS m
             JOIN users AS u USING (user_nid)
            WHERE m.room_nid = head.room_nid AND NOT m.is_local
            GROUP BY server) AS others ON true
     WHERE head.room_nid = ANY($1::integer[])
"""


@dataclass(frozen=True, slots=True)
class Participants:
    """How many users of each other server are in a room in the state `snapshot_nid`.

    Servers that were in it once, or are invited, count with 0.
    """

    snapshot_nid: int | None
    joined: dict[ServerName, int]


async def participants(db: Database, room_nids: Iterable[int]) -> dict[int, Participants]:
    """The other servers in rooms as they stand."""
    found: dict[int, Participants] = {}
    for room_nid, snapshot_nid, server, joined in await db.fetch(
        SELECT_PARTICIPANTS, list(room_nids)
    ):
        room = found.setdefault(room_nid, Participants(snapshot_nid, {}))
        if server is not None:
            room.joined[ServerName(server)] = joined
    return found


SELECT_JOINED_SINCE = """
    SELECT user_nid, room_nid, stream_position
      FROM memberships
     WHERE user_nid = ANY($1::integer[]) AND membership = 1
"""


async def joined_since(db: Database, user_nids: Iterable[int]) -> dict[int, dict[int, int]]:
    """The rooms that users are in: user -> room -> position of the latest member event."""
    wanted = list(user_nids)
    found: dict[int, dict[int, int]] = {user_nid: {} for user_nid in wanted}
    for user_nid, room_nid, position in await db.fetch(SELECT_JOINED_SINCE, wanted):
        found[user_nid][room_nid] = position
    return found


SELECT_JOINED_ROOMS = """
    SELECT user_nid, room_nid
      FROM memberships
     WHERE user_nid = ANY($1::integer[]) AND membership = 1
"""


async def joined_rooms_of(db: Database, user_nids: Iterable[int]) -> dict[int, set[int]]:
    """The rooms that users are in: user -> rooms."""
    wanted = list(user_nids)
    found: dict[int, set[int]] = {user_nid: set() for user_nid in wanted}
    for user_nid, room_nid in await db.fetch(SELECT_JOINED_ROOMS, wanted):
        found[user_nid].add(room_nid)
    return found
