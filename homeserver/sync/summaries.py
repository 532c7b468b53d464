"""Room summaries: member counts, and the heroes after whom a nameless room is called.

Source: client-server API, `m.heroes` of /sync.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import decode
from storage.database import Database
from storage.names import Names

HEROES = 5
SUMMARISED = frozenset(("m.room.member", "m.room.name", "m.room.canonical_alias"))
"""Types of state that summaries rest on."""

SELECT_COUNTS = """
    SELECT room_nid, membership, count(*)
      FROM memberships
     WHERE room_nid = ANY($1::integer[]) AND membership IN (1, 2)
     GROUP BY room_nid, membership
"""

SELECT_NAMES = """
    SELECT s.room_nid, e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""

SELECT_HEROES = """
    SELECT r.room_nid, u.user_id, m.event_nid
      FROM unnest($1::integer[]) AS r (room_nid)
     CROSS JOIN LATERAL (
           SELECT user_nid, event_nid
             FROM memberships
            WHERE memberships.room_nid = r.room_nid
              AND memberships.user_nid <> $2
              AND memberships.membership = ANY($3::smallint[])
            ORDER BY memberships.event_nid
            LIMIT 5) AS m
      JOIN users AS u ON u.user_nid = m.user_nid
     ORDER BY r.room_nid, m.event_nid
"""

PRESENT = (1, 2)
PAST = (4, 5)


@dataclass(frozen=True, slots=True)
class Hero:
    """A member after whom a room is called, and the member event."""

    user_id: str
    event_nid: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A room's member counts; `heroes` is None for a room with a name."""

    joined: int
    invited: int
    heroes: tuple[Hero, ...] | None

    @property
    def hero_ids(self) -> set[str]:
        """The users after whom the room is called."""
        return {hero.user_id for hero in self.heroes or ()}

    def body(self) -> dict[str, Any]:
        """As /sync has it."""
        body: dict[str, Any] = {
            "m.joined_member_count": self.joined,
            "m.invited_member_count": self.invited,
        }
        if self.heroes is not None:
            body["m.heroes"] = [hero.user_id for hero in self.heroes]
        return body


async def find_nameless(db: Database, names: Names, room_nids: Iterable[int]) -> set[int]:
    """Those of the rooms that have neither a name nor a canonical alias."""
    rooms = list(room_nids)
    places = await names.places.get_nids((("m.room.name", ""), ("m.room.canonical_alias", "")))
    rows = await db.fetch(SELECT_NAMES, rooms, list(places.values()))
    named = {room_nid for room_nid, encoded in rows if has_name(decode(encoded)["content"])}
    return set(rooms) - named


def has_name(content: Mapping[str, Any]) -> bool:
    """Whether the content of a name or canonical alias event gives a name."""
    return bool(content.get("name") or content.get("alias"))


async def read_summaries(
    db: Database, room_nids: Iterable[int], nameless: Iterable[int], user_nid: int
) -> dict[int, Summary]:
    """The summaries of rooms, with heroes for the nameless ones; the user is never a hero."""
    rooms = list(room_nids)
    counts = {
        (room_nid, membership): count
        for room_nid, membership, count in await db.fetch(SELECT_COUNTS, rooms)
    }
    heroes = await _read_heroes(db, list(nameless), user_nid)
    return {
        room_nid: Summary(
            counts.get((room_nid, 1), 0), counts.get((room_nid, 2), 0), heroes.get(room_nid)
        )
        for room_nid in rooms
    }


async def _read_heroes(
    db: Database, room_nids: list[int], user_nid: int
) -> dict[int, tuple[Hero, ...]]:
    found: dict[int, list[Hero]] = {room_nid: [] for room_nid in room_nids}
    for memberships in (PRESENT, PAST):
        lonely = [room_nid for room_nid, heroes in found.items() if not heroes]
        if lonely:
            for room_nid, user_id, event_nid in await db.fetch(
                SELECT_HEROES, lonely, user_nid, list(memberships)
            ):
                found[room_nid].append(Hero(user_id, event_nid))
    return {room_nid: tuple(heroes) for room_nid, heroes in found.items()}
