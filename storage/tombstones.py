"""Rooms that were left behind for others, and who said so."""

from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import UserId
from storage.database import Database

SELECT_TOMBSTONES = """
    SELECT e.json
      FROM memberships AS m
      JOIN current_state AS s USING (room_nid)
      JOIN state_places AS p USING (place_nid)
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE m.user_nid = $1
       AND m.membership = 1
       AND NOT s.is_member
       AND p.state_key = ''
       AND p.type_nid = (SELECT type_nid FROM event_types WHERE type = 'm.room.tombstone')
"""


async def who_leads_to(db: Database, user_nid: int, room_id: str) -> list[UserId]:
    """Those who said in one of a user's rooms that this room takes its place."""
    events = [decode(encoded) for (encoded,) in await db.fetch(SELECT_TOMBSTONES, user_nid)]
    return [
        UserId(event["sender"])
        for event in events
        if event["content"].get("replacement_room") == room_id
    ]
