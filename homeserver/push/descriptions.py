"""How the senders and rooms of events are called, for those who only read a notification."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from homeserver.push.notification import Description
from storage.cache import Cache
from storage.changes import StoredEvent
from storage.database import Database
from storage.names import Names

NAME = ("m.room.name", "")
ALIAS = ("m.room.canonical_alias", "")
MEMBER = "m.room.member"

KEPT_BYTES = 200_000
ENTRY_COST = 500

SELECT_STATE = """
    SELECT s.room_nid, s.place_nid, e.json
      FROM current_state AS s
      JOIN events AS e USING (event_nid)
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""

SELECT_STRIPPED = """
    SELECT stripped_state FROM memberships WHERE event_nid = $1 AND stripped_state IS NOT NULL
"""


class Descriptions:
    """Looks names up; those of one event are the same for all who are notified."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names
        self._kept: Cache[int, Description] = Cache(KEPT_BYTES)

    async def of(self, event: StoredEvent) -> Description:
        """How an event is described."""
        description = self._kept.get(event.event_nid)
        if description is None:
            description = (await self.of_many([event]))[event.event_nid]
            self._kept.put(event.event_nid, description, ENTRY_COST)
        return description

    async def of_many(self, events: Sequence[StoredEvent]) -> dict[int, Description]:
        """How each of some events is described, by number."""
        wanted = {NAME, ALIAS, *((MEMBER, event.sender) for event in events)}
        places = await self._names.places.find_nids(wanted)
        rows = await self._db.fetch(
            SELECT_STATE, list({event.room_nid for event in events}), list(places.values())
        )
        contents = {(room, place): orjson.loads(json)["content"] for room, place, json in rows}
        found = {}
        for event in events:
            if event.position is None:
                found[event.event_nid] = await self._of_invite(event)
                continue
            name, alias, member = (
                contents.get((event.room_nid, places.get(place, 0)), {})
                for place in (NAME, ALIAS, (MEMBER, event.sender))
            )
            found[event.event_nid] = describe(name, alias, member)
        return found

    async def _of_invite(self, event: StoredEvent) -> Description:
        """How an invite to a room elsewhere is described: by what came with it."""
        stripped = await self._db.fetchval(SELECT_STRIPPED, event.event_nid)
        contents = read_stripped(orjson.loads(stripped) if stripped else ())
        wanted = (NAME, ALIAS, (MEMBER, event.sender))
        return describe(*(contents.get(place, {}) for place in wanted))


def describe(
    name: Mapping[str, Any], alias: Mapping[str, Any], member: Mapping[str, Any]
) -> Description:
    """The description from the contents of the three events."""
    return Description(
        text_of(member.get("displayname")), text_of(name.get("name")), text_of(alias.get("alias"))
    )


def text_of(value: object) -> str | None:
    """A text that says something, or None."""
    return value if isinstance(value, str) and value else None


def read_stripped(events: Iterable[Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The contents of stripped state by place; what is malformed is left out."""
    return {
        (str(event.get("type")), str(event.get("state_key"))): event["content"]
        for event in events
        if isinstance(event, dict) and isinstance(event.get("content"), dict)
    }
