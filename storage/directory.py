"""What the room directory, previews and space hierarchies tell of rooms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.canonical_json import decode
from federation.protocol.pdu import StateKey
from storage.database import Database
from storage.names import Names

CREATE: StateKey = ("m.room.create", "")
NAME: StateKey = ("m.room.name", "")
TOPIC: StateKey = ("m.room.topic", "")
AVATAR: StateKey = ("m.room.avatar", "")
CANONICAL_ALIAS: StateKey = ("m.room.canonical_alias", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")
GUEST_ACCESS: StateKey = ("m.room.guest_access", "")
HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")
ENCRYPTION: StateKey = ("m.room.encryption", "")

TOLD: tuple[StateKey, ...] = (
    CREATE,
    NAME,
    TOPIC,
    AVATAR,
    CANONICAL_ALIAS,
    JOIN_RULES,
    GUEST_ACCESS,
    HISTORY_VISIBILITY,
    ENCRYPTION,
)
"""The places of a room's state that a summary is made of."""

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class RoomSummary:
    """A room as people see it who are not in it; what is malformed counts as absent.

    `contents` are those of the events at the places in `TOLD`.
    """

    room_nid: int
    room_id: str
    version_id: str
    joined_members: int
    contents: Mapping[StateKey, Mapping[str, Any]]

    @property
    def name(self) -> str | None:
        """The name."""
        return self._text(NAME, "name")

    @property
    def topic(self) -> str | None:
        """The topic in plain text."""
        return self._text(TOPIC, "topic")

    @property
    def avatar_url(self) -> str | None:
        """The avatar."""
        return self._text(AVATAR, "url")

    @property
    def canonical_alias(self) -> str | None:
        """The canonical alias."""
        return self._text(CANONICAL_ALIAS, "alias")

    @property
    def room_type(self) -> str | None:
        """The type, such as `m.space`; None for an ordinary room."""
        return self._text(CREATE, "type")

    @property
    def join_rule(self) -> str:
        """The join rule; `invite` where there is none."""
        return self._text(JOIN_RULES, "join_rule") or "invite"

    @property
    def allowed_room_ids(self) -> list[str]:
        """The rooms whose members a restricted room lets in."""
        return allowed_room_ids(self.contents.get(JOIN_RULES, _NOTHING))

    @property
    def is_world_readable(self) -> bool:
        """Whether everybody may read the room."""
        return self._text(HISTORY_VISIBILITY, "history_visibility") == "world_readable"

    @property
    def can_guests_join(self) -> bool:
        """Whether guests may join."""
        return self._text(GUEST_ACCESS, "guest_access") == "can_join"

    @property
    def encryption(self) -> str | None:
        """The encryption algorithm; None for a room without encryption."""
        return self._text(ENCRYPTION, "algorithm")

    def published_fields(self) -> dict[str, Any]:
        """The fields of `PublishedRoomsChunk`.

        Source: client-server API, `GET /publicRooms`.
        """
        optional = {
            "avatar_url": self.avatar_url,
            "canonical_alias": self.canonical_alias,
            "name": self.name,
            "room_type": self.room_type,
            "topic": self.topic,
        }
        return {
            "guest_can_join": self.can_guests_join,
            "join_rule": self.join_rule,
            "num_joined_members": self.joined_members,
            "room_id": self.room_id,
            "world_readable": self.is_world_readable,
            **{key: value for key, value in optional.items() if value is not None},
        }

    def _text(self, place: StateKey, key: str) -> str | None:
        value = self.contents.get(place, _NOTHING).get(key)
        return value if isinstance(value, str) and value else None


def allowed_room_ids(join_rules: Mapping[str, Any]) -> list[str]:
    """The rooms whose members may join, by the content of a join rules event.

    Source: client-server API, "Restricted rooms".
    """
    if join_rules.get("join_rule") not in ("restricted", "knock_restricted"):
        return []
    allow = join_rules.get("allow")
    conditions = [c for c in allow if isinstance(c, Mapping)] if isinstance(allow, list) else []
    rooms = [c.get("room_id") for c in conditions if c.get("type") == "m.room_membership"]
    return [room_id for room_id in rooms if isinstance(room_id, str)]


SELECT_TOLD = """
    SELECT s.room_nid, s.place_nid, e.json
      FROM current_state AS s
      JOIN events AS e ON e.event_nid = s.event_nid
     WHERE s.room_nid = ANY($1::integer[]) AND s.place_nid = ANY($2::integer[])
"""

SELECT_JOINED_COUNTS = """
    SELECT room_nid, count(*)
      FROM memberships
     WHERE room_nid = ANY($1::integer[]) AND membership = 1
     GROUP BY room_nid
"""


async def room_summaries(
    db: Database, names: Names, room_nids: Iterable[int]
) -> dict[int, RoomSummary]:
    """The summaries of those of the rooms that have a state here, by number."""
    wanted = list(set(room_nids))
    if not wanted:
        return {}
    place_nids = await names.places.get_nids(TOLD)
    place_of = {nid: place for place, nid in place_nids.items()}
    contents: dict[int, dict[StateKey, Mapping[str, Any]]] = {}
    for room_nid, place_nid, encoded in await db.fetch(SELECT_TOLD, wanted, list(place_of)):
        contents.setdefault(room_nid, {})[place_of[place_nid]] = decode(encoded)["content"]
    joined = dict(await db.fetch(SELECT_JOINED_COUNTS, wanted))
    rooms = await names.rooms.get_many(contents)
    return {
        nid: RoomSummary(nid, room.room_id, room.version_id, joined.get(nid, 0), contents[nid])
        for nid, room in rooms.items()
    }


@dataclass(frozen=True, slots=True)
class Listing:
    """Which directory: this server's own, that of a network, or all together.

    A network's directory belongs to an application service; `network` has the IDs of both.
    """

    network: tuple[str, str] | None = None
    is_all: bool = False


LISTED = """
    SELECT room_nid FROM rooms WHERE published AND ($1 OR $2::text IS NULL)
     UNION
    SELECT room_nid FROM appservice_rooms WHERE $1 OR (service_id = $2 AND network_id = $3)
"""


async def listed_room_nids(db: Database, listing: Listing) -> frozenset[int]:
    """All rooms in a directory."""
    rows = await db.fetch(LISTED, listing.is_all, *(listing.network or (None, None)))
    return frozenset(room_nid for (room_nid,) in rows)


SELECT_RANKING = """
    SELECT room_nid, count(*)
      FROM memberships
     WHERE room_nid = ANY($1::integer[]) AND membership = 1
     GROUP BY room_nid
     ORDER BY count(*) DESC, room_nid
"""


async def ranked_rooms(db: Database, room_nids: Iterable[int]) -> list[tuple[int, int]]:
    """Those of the rooms that somebody is in, with their numbers of members, largest first."""
    return [(nid, joined) for nid, joined in await db.fetch(SELECT_RANKING, list(room_nids))]
