"""Stripped state: what somebody outside a room is told of it, for invites and knocks.

Source: client-server API, "Stripped state".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.event_rendering import build_stripped_event
from federation.protocol.pdu import StateKey
from homeserver.sync.followers import RoomMembership
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row, get_events
from storage.names import Names

SHOWN: tuple[StateKey, ...] = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)

SELECT_SENT = """
    SELECT room_nid, stripped_state
      FROM memberships
     WHERE user_nid = $1 AND room_nid = ANY($2::integer[]) AND stripped_state IS NOT NULL
"""

SELECT_SHOWN = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::integer[]) AS wanted (room_nid, place_nid)
      JOIN current_state AS s USING (room_nid, place_nid)
      JOIN events AS e USING (event_nid)
"""  # noqa: S608 - constants of ours


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
        room_nid: list(decode(stripped))
        for room_nid, stripped in await db.fetch(SELECT_SENT, user_nid, list(rooms))
    }
    own = await get_events(db, [item.event_nid for item in rooms.values()])
    ours = [room_nid for room_nid in rooms if room_nid not in shown]
    for event in await _read_shown(db, names, ours, own):
        shown.setdefault(event.room_nid, []).append(build_stripped_event(event.fields))
    for room_nid, item in rooms.items():
        if item.event_nid in own:
            fields = own[item.event_nid].fields
            identity = {
                "event_id": own[item.event_nid].event_id,
                "origin_server_ts": fields["origin_server_ts"],
            }
            shown.setdefault(room_nid, []).append(build_stripped_event(fields) | identity)
    return shown


async def _read_shown(
    db: Database, names: Names, room_nids: list[int], own: Mapping[int, StoredEvent]
) -> list[StoredEvent]:
    senders = {event.room_nid: event.sender for event in own.values()}
    places = await names.places.get_nids(
        [*SHOWN, *(("m.room.member", sender) for sender in senders.values())]
    )
    pairs = [(room_nid, places[place]) for room_nid in room_nids for place in SHOWN]
    pairs += [
        (room_nid, places["m.room.member", senders[room_nid]])
        for room_nid in room_nids
        if room_nid in senders
    ]
    if not pairs:
        return []
    rows = await db.fetch(SELECT_SHOWN, *map(list, zip(*pairs, strict=True)))
    own_nids = set(own)
    return [event for event in map(event_of_row, rows) if event.event_nid not in own_nids]
