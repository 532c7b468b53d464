"""Strings and their integer ids: users, event types, state places, rooms.

Strings are stored once; everything else refers to them by number. What was looked up is cached:
the pairs never change. New strings are added outside any transaction, which is harmless: an
unused number costs nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.protocol.identifiers import RoomId, UserId
from federation.protocol.pdu import StateKey
from storage.cache import Cache
from storage.database import Database

ENTRY_COST = 300
"""Bytes that a cached pair of string and number takes, both directions together."""


@dataclass(frozen=True, slots=True)
class RoomName:
    """A room's number, ID and version."""

    room_nid: int
    room_id: RoomId
    version_id: str


class Interned:
    """The strings of one column and their numbers."""

    def __init__(self, db: Database, table: str, column: str, nid: str, max_bytes: int) -> None:
        self._db = db
        self._nid_of: Cache[str, int] = Cache(max_bytes // 2)
        self._text_of: Cache[int, str] = Cache(max_bytes // 2)
        self._select_nids = f"SELECT {column}, {nid} FROM {table} WHERE {column} = ANY($1::text[])"  # noqa: S608
        self._select_texts = f"SELECT {column}, {nid} FROM {table} WHERE {nid} = ANY($1::integer[])"  # noqa: S608
        self._insert = (
            f"INSERT INTO {table} ({column}) SELECT unnest($1::text[]) "
            f"ON CONFLICT DO NOTHING RETURNING {column}, {nid}"
        )

    async def find_nids(self, texts: Iterable[str]) -> dict[str, int]:
        """The numbers of those strings that have one."""
        found: dict[str, int] = {}
        missing = []
        for text in set(texts):
            nid = self._nid_of.get(text)
            if nid is None:
                missing.append(text)
            else:
                found[text] = nid
        if missing:
            found |= self._remember(await self._db.fetch(self._select_nids, missing))
        return found

    async def find_nid(self, text: str) -> int | None:
        """The number of a string, or None if it has none."""
        nid = self._nid_of.get(text)
        return nid if nid is not None else (await self.find_nids((text,))).get(text)

    async def get_nids(self, texts: Iterable[str]) -> dict[str, int]:
        """The numbers of the strings; those that have none yet get one."""
        wanted = set(texts)
        found = await self.find_nids(wanted)
        missing = sorted(wanted - found.keys())
        if missing:
            found |= self._remember(await self._db.fetch(self._insert, missing))
            raced = wanted - found.keys()
            if raced:
                found |= await self.find_nids(raced)
        return found

    async def get_nid(self, text: str) -> int:
        """The number of a string, which gets one if it has none yet."""
        nid = self._nid_of.get(text)
        return nid if nid is not None else (await self.get_nids((text,)))[text]

    async def get_texts(self, nids: Iterable[int]) -> dict[int, str]:
        """The strings of numbers that were given out."""
        found: dict[int, str] = {}
        missing = []
        for nid in set(nids):
            text = self._text_of.get(nid)
            if text is None:
                missing.append(nid)
            else:
                found[nid] = text
        if missing:
            rows = self._remember(await self._db.fetch(self._select_texts, missing))
            found |= {nid: text for text, nid in rows.items()}
        return found

    async def get_text(self, nid: int) -> str:
        """The string of a number that was given out."""
        text = self._text_of.get(nid)
        return text if text is not None else (await self.get_texts((nid,)))[nid]

    def _remember(self, rows: Iterable[tuple[str, int]]) -> dict[str, int]:
        pairs = dict(rows)
        for text, nid in pairs.items():
            self._nid_of.put(text, nid, ENTRY_COST // 2 + len(text))
            self._text_of.put(nid, text, ENTRY_COST // 2 + len(text))
        return pairs


# The inner query has to be one look-up by both columns: after thousands of members have come at
# once, the planner, whose statistics are older, would read all of the type for each of them.
SELECT_PLACES = """
    SELECT t.type, p.state_key, p.place_nid
      FROM unnest($1::text[], $2::text[]) AS wanted (type, state_key)
      JOIN event_types AS t ON t.type = wanted.type
     CROSS JOIN LATERAL (
           SELECT state_key, place_nid
             FROM state_places
            WHERE type_nid = t.type_nid AND state_key = wanted.state_key
           OFFSET 0) AS p
"""

INSERT_PLACES = """
    INSERT INTO state_places (type_nid, state_key)
    SELECT * FROM unnest($1::integer[], $2::text[])
    ON CONFLICT DO NOTHING
"""

SELECT_PLACE_NAMES = """
    SELECT t.type, p.state_key, p.place_nid
      FROM state_places AS p
      JOIN event_types AS t USING (type_nid)
     WHERE p.place_nid = ANY($1::integer[])
"""


class Places:
    """State places, that is pairs of event type and state key, and their numbers."""

    def __init__(self, db: Database, types: Interned, max_bytes: int) -> None:
        self._db = db
        self._types = types
        self._nid_of: Cache[StateKey, int] = Cache(max_bytes // 2)
        self._place_of: Cache[int, StateKey] = Cache(max_bytes // 2)

    async def find_nids(self, places: Iterable[StateKey]) -> dict[StateKey, int]:
        """The numbers of those places that have one."""
        found: dict[StateKey, int] = {}
        missing = []
        for place in set(places):
            nid = self._nid_of.get(place)
            if nid is None:
                missing.append(place)
            else:
                found[place] = nid
        if missing:
            rows = await self._db.fetch(
                SELECT_PLACES, [p[0] for p in missing], [p[1] for p in missing]
            )
            found |= self._remember(rows)
        return found

    async def get_nids(self, places: Iterable[StateKey]) -> dict[StateKey, int]:
        """The numbers of the places; those that have none yet get one."""
        wanted = set(places)
        found = await self.find_nids(wanted)
        missing = sorted(wanted - found.keys())
        if missing:
            types = await self._types.get_nids(place[0] for place in missing)
            await self._db.execute(
                INSERT_PLACES, [types[p[0]] for p in missing], [p[1] for p in missing]
            )
            found |= await self.find_nids(missing)
        return found

    async def get_nid(self, place: StateKey) -> int:
        """The number of a place, which gets one if it has none yet."""
        nid = self._nid_of.get(place)
        return nid if nid is not None else (await self.get_nids((place,)))[place]

    async def get_places(self, nids: Iterable[int]) -> dict[int, StateKey]:
        """The places of numbers that were given out."""
        found: dict[int, StateKey] = {}
        missing = []
        for nid in set(nids):
            place = self._place_of.get(nid)
            if place is None:
                missing.append(nid)
            else:
                found[nid] = place
        if missing:
            rows = self._remember(await self._db.fetch(SELECT_PLACE_NAMES, missing))
            found |= {nid: place for place, nid in rows.items()}
        return found

    def _remember(self, rows: Iterable[tuple[str, str, int]]) -> dict[StateKey, int]:
        pairs = {(event_type, state_key): nid for event_type, state_key, nid in rows}
        for place, nid in pairs.items():
            self._nid_of.put(place, nid, ENTRY_COST // 2 + len(place[1]))
            self._place_of.put(nid, place, ENTRY_COST // 2 + len(place[1]))
        return pairs


SELECT_ROOM = "SELECT room_nid, room_id, room_version FROM rooms WHERE room_id = $1"
SELECT_BY_IDS = """
    SELECT room_nid, room_id, room_version FROM rooms WHERE room_id = ANY($1::text[])
"""
SELECT_ROOMS = """
    SELECT room_nid, room_id, room_version FROM rooms WHERE room_nid = ANY($1::integer[])
"""


class Rooms:
    """Rooms by number and by ID."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._db = db
        self._by_id: Cache[str, RoomName] = Cache(max_bytes // 2)
        self._by_nid: Cache[int, RoomName] = Cache(max_bytes // 2)

    async def find(self, room_id: str) -> RoomName | None:
        """The room of this ID, or None if this server has never had it."""
        room = self._by_id.get(room_id)
        if room is None:
            row = await self._db.fetchrow(SELECT_ROOM, room_id)
            room = self._remember(row) if row else None
        return room

    async def find_many(self, room_ids: Iterable[str]) -> dict[str, RoomName]:
        """Those of the rooms of these IDs that this server has had, by ID."""
        found: dict[str, RoomName] = {}
        missing = []
        for room_id in set(room_ids):
            room = self._by_id.get(room_id)
            if room is None:
                missing.append(room_id)
            else:
                found[room_id] = room
        if missing:
            rows = [self._remember(row) for row in await self._db.fetch(SELECT_BY_IDS, missing)]
            found |= {room.room_id: room for room in rows}
        return found

    async def get_many(self, room_nids: Iterable[int]) -> dict[int, RoomName]:
        """The rooms of numbers that were given out."""
        found: dict[int, RoomName] = {}
        missing = []
        for nid in set(room_nids):
            room = self._by_nid.get(nid)
            if room is None:
                missing.append(nid)
            else:
                found[nid] = room
        if missing:
            rows = [self._remember(row) for row in await self._db.fetch(SELECT_ROOMS, missing)]
            found |= {room.room_nid: room for room in rows}
        return found

    def cached(self, room_nid: int) -> RoomName | None:
        """The room if it is in the cache."""
        return self._by_nid.get(room_nid)

    async def get(self, room_nid: int) -> RoomName:
        """The room of a number that was given out."""
        return (await self.get_many((room_nid,)))[room_nid]

    def _remember(self, row: tuple[int, str, str]) -> RoomName:
        room = RoomName(row[0], RoomId(row[1]), row[2])
        self._by_id.put(room.room_id, room, ENTRY_COST)
        self._by_nid.put(room.room_nid, room, ENTRY_COST)
        return room


class Names:
    """All strings that have numbers, behind one bounded set of caches."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        part = max_bytes // 4
        self.users = Interned(db, "users", "user_id", "user_nid", part)
        self.types = Interned(db, "event_types", "type", "type_nid", part)
        self.places = Places(db, self.types, part)
        self.rooms = Rooms(db, part)

    async def user_id(self, user_nid: int) -> UserId:
        """The user ID of a number that was given out."""
        return UserId(await self.users.get_text(user_nid))
