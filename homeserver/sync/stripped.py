"""The stripped state of the rooms that a user is invited to or knocks on.

Source: client-server API, "Stripped state".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from federation.protocol.canonical_json import decode
from federation.protocol.event_rendering import build_stripped_event, dump_event
from homeserver.rooms.stripped_state import is_stripped, read_shown_events
from homeserver.sync.followers import RoomMembership
from storage.database import Database
from storage.events import get_events
from storage.names import Names

SELECT_SENT = """
    SELECT room_nid, stripped_state
      FROM memberships
     WHERE user_nid = $1 AND room_nid = ANY($2::integer[]) AND stripped_state IS NOT NULL
"""


async def read_stripped_states(
    db: Database, names: Names, user_nid: int, rooms: Mapping[int, RoomMembership]
) -> dict[int, list[Any]]:
    """The stripped state of rooms that the user is invited to or knocks on.

    What another server sent with an invite is shown as it came; for rooms of ours it is taken from
    the current state, with the inviter's member event. The user's own member event comes last.
    """
    if not rooms:
        return {}
    shown: dict[int, list[Any]] = {
        room_nid: [told(event) for event in decode(stripped) if is_stripped(event)]
        for room_nid, stripped in await db.fetch(SELECT_SENT, user_nid, list(rooms))
    }
    own = await get_events(db, [item.event_nid for item in rooms.values()])
    ours = [room_nid for room_nid in rooms if room_nid not in shown]
    senders: dict[int, str | None] = dict.fromkeys(ours)
    senders |= {e.room_nid: e.sender for e in own.values() if e.room_nid in senders}
    for event in await read_shown_events(db, names, senders):
        if event.event_nid not in own:
            shown.setdefault(event.room_nid, []).append(told(event.fields))
    for room_nid, item in rooms.items():
        if item.event_nid in own:
            fields = own[item.event_nid].fields
            identity = {
                "event_id": own[item.event_nid].event_id,
                "origin_server_ts": fields["origin_server_ts"],
            }
            shown.setdefault(room_nid, []).append(plain(build_stripped_event(fields) | identity))
    return shown


def told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A stripped event for a client; of the create event also when it was sent (MSC4311)."""
    event = build_stripped_event(fields)
    if fields["type"] == "m.room.create" and "origin_server_ts" in fields:
        event["origin_server_ts"] = fields["origin_server_ts"]
    return plain(event)


def plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as any JSON can hold it: rooms of old have integers beyond 64 bits."""
    shown: dict[str, Any] = orjson.loads(dump_event(event))
    return shown
