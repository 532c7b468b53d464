"""What filters of lists ask about rooms: their type, whether they are encrypted, their name.

It is the same for everybody in a room, so it is read once and kept until the room's state changes
there. Of rooms that the user is only invited to, the stripped state tells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import decode
from storage.cache import Cache
from storage.changes import Change, EventAdded
from storage.database import Database
from storage.names import Names

CREATE = ("m.room.create", "")
ENCRYPTION = ("m.room.encryption", "")
NAME = ("m.room.name", "")
TELLING = (CREATE, ENCRYPTION, NAME)
TELLING_TYPES = frozenset(event_type for event_type, _ in TELLING)
SPACE_CHILD = "m.space.child"
FACTS_COST = 400

SELECT_TELLING = """
    SELECT s.room_nid, s.place_nid, e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What filters ask of a room."""

    room_type: str | None
    is_encrypted: bool
    name: str | None


def facts_of(contents: Mapping[tuple[str, str], Any]) -> RoomFacts:
    """The facts that the contents of a room's state tell, by place."""
    create = contents.get(CREATE)
    return RoomFacts(
        text_in(create, "type"), ENCRYPTION in contents, text_in(contents.get(NAME), "name")
    )


def text_in(content: object, key: str) -> str | None:
    """A string in a content, or None."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, str) else None


class RoomFactsCache:
    """The facts of rooms; `serial` grows with each change to any of them, or to a space."""

    def __init__(self, db: Database, names: Names, max_bytes: int) -> None:
        self._db = db
        self._names = names
        self._facts: Cache[int, RoomFacts] = Cache(max_bytes)
        self.serial = 0

    async def of(self, room_nids: Iterable[int]) -> dict[int, RoomFacts]:
        """The facts of rooms, read together."""
        found: dict[int, RoomFacts] = {}
        missing = []
        for room_nid in room_nids:
            facts = self._facts.get(room_nid)
            if facts is None:
                missing.append(room_nid)
            else:
                found[room_nid] = facts
        return found | await self._read(missing) if missing else found

    def heard(self, changes: Sequence[Change]) -> None:
        """Forget what changed."""
        for change in changes:
            if not isinstance(change, EventAdded) or not change.changes_state:
                continue
            event = change.event
            is_fork = event.state_key is None
            if is_fork or event.type in TELLING_TYPES or event.type == SPACE_CHILD:
                self._facts.discard(event.room_nid)
                self.serial += 1

    async def _read(self, room_nids: list[int]) -> dict[int, RoomFacts]:
        serial = self.serial
        places = await self._names.places.get_nids(TELLING)
        place_of = {nid: place for place, nid in places.items()}
        contents: dict[int, dict[tuple[str, str], Any]] = {nid: {} for nid in room_nids}
        rows = await self._db.fetch(SELECT_TELLING, room_nids, list(place_of))
        for room_nid, place_nid, encoded in rows:
            contents[room_nid][place_of[place_nid]] = decode(encoded)["content"]
        found = {room_nid: facts_of(parts) for room_nid, parts in contents.items()}
        if serial == self.serial:
            for room_nid, facts in found.items():
                self._facts.put(room_nid, facts, FACTS_COST)
        return found
