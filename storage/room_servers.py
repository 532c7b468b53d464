"""Which servers take part in rooms, by the memberships of their users."""

from collections.abc import Iterable, Sequence

from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import UserId
from storage.database import Database
from storage.room_state import REMOVED

SELECT_IN_ROOM = """
    SELECT EXISTS (
           SELECT FROM memberships AS m
             JOIN users AS u USING (user_nid)
            WHERE m.room_nid = $1
              AND m.membership = 1
              AND substr(u.user_id, strpos(u.user_id, ':') + 1) = $2)
"""


async def is_server_in_room(db: Database, room_nid: int, server_name: str) -> bool:
    """Whether any user of a server is joined to the room."""
    return bool(await db.fetchval(SELECT_IN_ROOM, room_nid, server_name))


SELECT_ROOMS = """
    SELECT r.room_id
      FROM rooms AS r
     WHERE r.room_id = ANY($1::text[])
       AND EXISTS (
           SELECT FROM memberships AS m
             JOIN users AS u USING (user_nid)
            WHERE m.room_nid = r.room_nid
              AND m.membership = ANY($3::smallint[])
              AND substr(u.user_id, strpos(u.user_id, ':') + 1) = $2)
"""


async def rooms_of_server(
    db: Database, room_ids: Iterable[str], server_name: str, memberships: Sequence[int]
) -> set[str]:
    """Those of the rooms in which a user of the server has one of these memberships."""
    rows = await db.fetch(SELECT_ROOMS, list(room_ids), server_name, list(memberships))
    return {room_id for (room_id,) in rows}


SELECT_USERS = """
    SELECT u.user_id
      FROM memberships AS m
      JOIN users AS u USING (user_nid)
     WHERE m.room_nid = $1
       AND substr(u.user_id, strpos(u.user_id, ':') + 1) = $2
     ORDER BY m.membership <> 1, m.stream_position, m.user_nid
"""


async def users_of_server(db: Database, room_nid: int, server_name: str) -> list[UserId]:
    """A server's users who are or were members of the room, those who joined first in front."""
    rows = await db.fetch(SELECT_USERS, room_nid, server_name)
    return [UserId(user_id) for (user_id,) in rows]


SELECT_EVENTS_AT = """
      WITH stacks AS (
           SELECT top.snapshot_nid AS top, stack.nid, stack.height
             FROM state_snapshots AS top
             CROSS JOIN unnest(top.layers) WITH ORDINALITY AS stack (nid, height)
            WHERE top.snapshot_nid = ANY($1::bigint[])),
           entries AS (
           SELECT layer.snapshot_nid AS nid, entry.place, entry.event
             FROM state_snapshots AS layer
             CROSS JOIN unnest(layer.places, layer.event_nids) AS entry (place, event)
             JOIN unnest($2::integer[]) AS wanted (place) ON wanted.place = entry.place
            WHERE layer.snapshot_nid IN (SELECT nid FROM stacks))
    SELECT DISTINCT ON (stacks.top, entries.place) stacks.top, entries.event
      FROM stacks
      JOIN entries USING (nid)
     ORDER BY stacks.top, entries.place, stacks.height
"""


async def events_at_places(
    db: Database, snapshot_nids: Iterable[int], places: Iterable[int]
) -> dict[int, set[int]]:
    """The events at any of many places of several snapshots: snapshot -> events.

    Reads the layers as wholes, which suits many places; `room_state.get_places_at` suits few.
    """
    found: dict[int, set[int]] = {}
    for top, event in await db.fetch(SELECT_EVENTS_AT, list(snapshot_nids), list(places)):
        if event != REMOVED:
            found.setdefault(top, set()).add(event)
    return found


SELECT_LATER = """
    SELECT json
      FROM events
     WHERE room_nid = $1 AND place_nid = ANY($2::integer[]) AND stream_position > $3
"""


async def is_joined_after(
    db: Database, room_nid: int, member_places: Sequence[int], position: int
) -> bool:
    """Whether any of these members joined the room after a stream position."""
    rows = await db.fetch(SELECT_LATER, room_nid, member_places, position)
    return any(decode(encoded)["content"].get("membership") == "join" for (encoded,) in rows)
