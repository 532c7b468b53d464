"""Who may be in calls because they are in a room."""

from federation.protocol.identifiers import UserId
from storage.database import Database

Participant = tuple[str, str]
"""A LiveKit room and an identity in it."""

IS_IN_ROOM = """
    EXISTS (
           SELECT FROM memberships AS m
            WHERE m.user_nid = p.user_nid AND m.room_nid = p.room_nid AND m.membership = 1
              AND (m.is_local OR EXISTS (
                   SELECT FROM memberships AS ours
                    WHERE ours.room_nid = m.room_nid AND ours.membership = 1 AND ours.is_local)))
"""
"""What `is_in_room` of storage/memberships asks, of participants `p`."""

PUT = f"""
    INSERT INTO call_participants (livekit_room, identity, user_nid, room_nid, given_ts)
    SELECT $1, $2, p.user_nid, p.room_nid, $5
      FROM (SELECT user_nid, room_nid
              FROM users, rooms
             WHERE user_id = $3 AND room_id = $4) AS p
     WHERE {IS_IN_ROOM}
        ON CONFLICT (livekit_room, identity) DO UPDATE
       SET given_ts = excluded.given_ts, is_cut_off = false
"""  # noqa: S608 - a constant of ours


async def put_participant(
    db: Database, participant: Participant, user_id: UserId, room_id: str, now: int
) -> None:
    """Note who was given a token, if it is somebody who is in the room, as far as we know."""
    await db.execute(PUT, *participant, user_id, room_id, now)


SELECT_TO_CUT_OFF = f"""
    SELECT livekit_room, identity
      FROM call_participants AS p
     WHERE NOT is_cut_off AND NOT {IS_IN_ROOM}
"""  # noqa: S608 - a constant of ours


async def participants_to_cut_off(db: Database) -> list[Participant]:
    """Those who are no longer in the room as whose members they were given tokens."""
    return [(row[0], row[1]) for row in await db.fetch(SELECT_TO_CUT_OFF)]


CUT_OFF = """
    UPDATE call_participants SET is_cut_off = true WHERE livekit_room = $1 AND identity = $2
"""


async def note_cut_off(db: Database, participant: Participant) -> None:
    """Note that it is no longer connected."""
    await db.execute(CUT_OFF, *participant)


CONNECT_AGAIN = f"""
    UPDATE call_participants AS p
       SET is_cut_off = false
     WHERE livekit_room = $1 AND identity = $2 AND NOT {IS_IN_ROOM}
 RETURNING true
"""  # noqa: S608 - a constant of ours


async def note_connected(db: Database, participant: Participant) -> bool:
    """Note that it has connected, if it is one to be cut off; whether it is."""
    return await db.fetchval(CONNECT_AGAIN, *participant) is not None


DELETE_OLD = "DELETE FROM call_participants WHERE given_ts < $1"


async def forget_participants(db: Database, before_ts: int) -> None:
    """Forget those who were given tokens before a time."""
    await db.execute(DELETE_OLD, before_ts)
