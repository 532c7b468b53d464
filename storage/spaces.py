"""What walking a tree of spaces needs to know of many rooms at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.pdu import StateKey
from storage.database import Database
from storage.directory import CREATE, HISTORY_VISIBILITY, JOIN_RULES, RoomSummary
from storage.names import Names

OUTLINE: tuple[StateKey, ...] = (CREATE, JOIN_RULES, HISTORY_VISIBILITY)
"""The places of a room's state that tell its kind and who may see it."""

SELECT_HELD = """
    SELECT r.room_id, r.room_nid, r.room_version
      FROM rooms AS r
      JOIN room_heads USING (room_nid)
     WHERE r.room_id = ANY($1::text[])
       AND (EXISTS (SELECT FROM memberships AS m
                     WHERE m.room_nid = r.room_nid AND m.membership = 1 AND m.is_local)
            OR NOT EXISTS (SELECT FROM memberships AS m
                            WHERE m.room_nid = r.room_nid AND m.membership = 1))
"""

SELECT_OUTLINES = """
    SELECT s.room_nid, s.place_nid, e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""


async def room_outlines(
    db: Database, names: Names, room_ids: Iterable[str]
) -> dict[str, RoomSummary]:
    """Summaries of those of the rooms whose present state this server knows, by ID.

    They have the `OUTLINE` of the state and no number of members.
    """
    held = {
        room_nid: (room_id, version_id)
        for room_id, room_nid, version_id in await db.fetch(SELECT_HELD, list(room_ids))
    }
    places = await names.places.find_nids(OUTLINE)
    place_of = {nid: place for place, nid in places.items()}
    contents: dict[int, dict[StateKey, Mapping[str, Any]]] = {}
    for room_nid, place_nid, encoded in await db.fetch(SELECT_OUTLINES, list(held), list(place_of)):
        contents.setdefault(room_nid, {})[place_of[place_nid]] = decode(encoded)["content"]
    return {
        held[nid][0]: RoomSummary(nid, held[nid][0], held[nid][1], 0, found)
        for nid, found in contents.items()
    }


@dataclass(frozen=True, slots=True)
class ChildLink:
    """An `m.space.child` event of a space; `fields` are those of the event."""

    room_id: str
    fields: Mapping[str, Any]


SELECT_CHILD_LINKS = """
    SELECT s.room_nid, p.state_key, e.json
      FROM current_state AS s
      JOIN state_places AS p USING (place_nid)
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[])
       AND NOT s.is_member
       AND p.type_nid = (SELECT type_nid FROM event_types WHERE type = 'm.space.child')
"""


async def child_links(db: Database, room_nids: Sequence[int]) -> dict[int, list[ChildLink]]:
    """The links of spaces to their children, valid or not, by space."""
    links: dict[int, list[ChildLink]] = {}
    for room_nid, child_id, encoded in await db.fetch(SELECT_CHILD_LINKS, room_nids):
        links.setdefault(room_nid, []).append(ChildLink(child_id, decode(encoded, exact=False)))
    return links


SELECT_JOINED_AMONG = """
    SELECT r.room_id
      FROM rooms AS r
      JOIN memberships AS m USING (room_nid)
     WHERE r.room_id = ANY($2::text[]) AND m.user_nid = $1 AND m.membership = 1
"""


async def joined_among(db: Database, user_nid: int, room_ids: Iterable[str]) -> set[str]:
    """Those of the rooms that the user is in."""
    rows = await db.fetch(SELECT_JOINED_AMONG, user_nid, list(room_ids))
    return {room_id for (room_id,) in rows}


@dataclass(frozen=True, slots=True)
class KnownMembership:
    """A user's membership of a room; `stripped_state` came with an invite or went with a knock."""

    membership: int
    stripped_state: bytes | None


SELECT_MEMBERSHIPS = """
    SELECT r.room_id, m.membership, m.stripped_state
      FROM rooms AS r
      JOIN memberships AS m USING (room_nid)
     WHERE r.room_id = ANY($2::text[]) AND m.user_nid = $1
"""


async def memberships_of(
    db: Database, user_nid: int, room_ids: Iterable[str]
) -> dict[str, KnownMembership]:
    """The user's memberships of those of the rooms where there is one."""
    rows = await db.fetch(SELECT_MEMBERSHIPS, user_nid, list(room_ids))
    return {room_id: KnownMembership(number, stripped) for room_id, number, stripped in rows}


SELECT_PARENT_LINKS = """
    SELECT p.state_key, e.json
      FROM state_places AS p
      JOIN current_state AS s USING (place_nid)
      JOIN events AS e USING (event_nid)
     WHERE p.type_nid = (SELECT type_nid FROM event_types WHERE type = 'm.space.child')
       AND p.state_key = ANY($1::text[])
     LIMIT $2
"""


async def links_to(
    db: Database, room_ids: Iterable[str], limit: int
) -> dict[str, list[Mapping[str, Any]]]:
    """The contents of links that spaces here have to rooms, valid or not, by room."""
    links: dict[str, list[Mapping[str, Any]]] = {}
    for room_id, encoded in await db.fetch(SELECT_PARENT_LINKS, list(room_ids), limit):
        links.setdefault(room_id, []).append(decode(encoded)["content"])
    return links
