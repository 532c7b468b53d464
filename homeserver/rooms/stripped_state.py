"""Stripped state: what somebody outside a room is told of it, for invites and knocks.

Source: client-server API, "Stripped state"; server-server API, `invite_room_state`.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.auth_events import member_place
from federation.protocol.pdu import StateKey
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import COLUMNS, event_of_row
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

SELECT_SHOWN = f"""
    SELECT {COLUMNS}
      FROM unnest($1::integer[], $2::integer[]) AS wanted (room_nid, place_nid)
      JOIN current_state AS s USING (room_nid, place_nid)
      JOIN events AS e USING (event_nid)
"""  # noqa: S608 - constants of ours


async def read_shown_events(
    db: Database, names: Names, senders: Mapping[int, str | None]
) -> list[StoredEvent]:
    """The events of rooms' current states that outsiders are told of.

    `senders` are the rooms, each with the user whose member event is to be among them.
    """
    named = [member_place(sender) for sender in senders.values() if sender is not None]
    places = await names.places.get_nids([*SHOWN, *named])
    pairs = [(room_nid, places[place]) for room_nid in senders for place in SHOWN]
    pairs += [
        (room_nid, places[member_place(sender)])
        for room_nid, sender in senders.items()
        if sender is not None
    ]
    if not pairs:
        return []
    rows = await db.fetch(SELECT_SHOWN, *map(list, zip(*pairs, strict=True)))
    return [event_of_row(row) for row in rows]


async def stripped_state_of(
    db: Database, names: Names, room_nid: int, sender: str | None
) -> list[Mapping[str, Any]]:
    """What another server is told of a room with an invite or a knock: whole PDUs."""
    events = await read_shown_events(db, names, {room_nid: sender})
    return [event.fields for event in events]


def is_stripped(event: object) -> bool:
    """Whether something that another server sent has what a stripped event must have."""
    return isinstance(event, Mapping) and {"content", "sender", "state_key", "type"} <= set(event)
