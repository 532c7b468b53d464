"""Whether other servers may ask about a room: they must be in it and not be shut out.

What was worked out is kept with what it rests on, which is read again at each question: a room's
access control list with the number of its event, a server's presence in a room with the number of
the room's state. So nothing has to be forgotten when rooms change, whichever process changes them.
Source: server-server API, "Server Access Control Lists (ACLs)"; client-server API,
`m.room.server_acl`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from federation.protocol.canonical_json import decode
from federation.protocol.errors import Forbidden, NotFound
from federation.protocol.identifiers import RoomId
from federation.protocol.pdu import StateKey
from federation.protocol.server_acl import ServerAcl, parse_server_acl
from storage.cache import Cache
from storage.database import Database
from storage.event_graph import get_json
from storage.names import Names, RoomName
from storage.room_servers import is_server_in_room

SERVER_ACL: StateKey = ("m.room.server_acl", "")

PRESENCE_COST = 200
ACL_COST_FACTOR = 4
"""Memory that a parsed list takes, over the bytes of its event."""

SELECT_GATES = """
    SELECT r.room_nid, r.room_id, r.room_version, head.snapshot_nid,
           acl.event_nid, acl.redacted_by
      FROM rooms AS r
      JOIN room_heads AS head USING (room_nid)
      LEFT JOIN current_state AS s ON s.room_nid = r.room_nid AND s.place_nid = $2
      LEFT JOIN events AS acl ON acl.event_nid = s.event_nid
     WHERE r.room_id = ANY($1::text[])
"""

AclKey = tuple[int, int | None]
"""An event and the redaction that changed it."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What decides about entry to a room: its state, and the event of its access control list."""

    room: RoomName
    snapshot_nid: int | None
    acl: AclKey | None


@dataclass(frozen=True, slots=True)
class ServerStanding:
    """How a server stands to a room."""

    room: RoomName
    is_allowed: bool
    is_in_room: bool


class ServerAccess:
    """Decides about other servers' access to rooms."""

    def __init__(self, db: Database, names: Names, max_bytes: int) -> None:
        self._db = db
        self._names = names
        self._acls: Cache[AclKey, ServerAcl] = Cache(max_bytes // 2)
        self._presence: Cache[tuple[int, str], tuple[int | None, bool]] = Cache(max_bytes // 2)

    async def is_allowed(self, origin: str, room_id: str) -> bool:
        """Whether the room's access control list lets the server take part.

        A room without a list, or that is not here, lets everybody.
        """
        return not await self.find_denied(origin, (room_id,))

    async def check_server_acl(self, room_id: str, origin: str) -> None:
        """Raise `Forbidden` if the room's access control list shuts the server out."""
        if not await self.is_allowed(origin, room_id):
            raise shut_out(origin)

    async def find_denied(self, origin: str, room_ids: Iterable[str]) -> set[str]:
        """Those of the rooms whose access control lists shut the server out."""
        gates = await self._gates(room_ids)
        acls = await self._acls_of(gates)
        return {
            gate.room.room_id
            for gate in gates
            if gate.acl is not None and not acls[gate.acl].is_allowed(origin)
        }

    async def get_room(self, room_id: str, origin: str) -> RoomName:
        """A room that a server may ask about.

        Raises `NotFound` (not here), `Forbidden` (the server is not in it, or shut out).
        """
        standing = await self.find_standing(room_id, origin)
        if standing is None:
            raise NotFound(f"There is no room {room_id} here")
        if not standing.is_allowed:
            raise shut_out(origin)
        if not standing.is_in_room:
            raise Forbidden(f"{origin} is not in the room")
        return standing.room

    async def find_standing(self, room_id: str, origin: str) -> ServerStanding | None:
        """How a server stands to a room; None for a room whose state is not known here."""
        gates = await self._gates((room_id,))
        if not gates:
            return None
        (gate,) = gates
        acls = await self._acls_of(gates)
        is_allowed = gate.acl is None or acls[gate.acl].is_allowed(origin)
        return ServerStanding(gate.room, is_allowed, await self._is_in_room(gate, origin))

    async def _is_in_room(self, gate: Gate, origin: str) -> bool:
        room_nid = gate.room.room_nid
        known = self._presence.get((room_nid, origin))
        if known is not None and known[0] == gate.snapshot_nid:
            return known[1]
        is_in_room = await is_server_in_room(self._db, room_nid, origin)
        self._presence.put((room_nid, origin), (gate.snapshot_nid, is_in_room), PRESENCE_COST)
        return is_in_room

    async def _gates(self, room_ids: Iterable[str]) -> list[Gate]:
        """The gates of those of the rooms whose state is known here."""
        place = await self._names.places.get_nid(SERVER_ACL)
        return [
            Gate(
                RoomName(room_nid, RoomId(room_id), version_id),
                snapshot_nid,
                None if acl is None else (acl, redacted_by),
            )
            for room_nid, room_id, version_id, snapshot_nid, acl, redacted_by in (
                await self._db.fetch(SELECT_GATES, list(set(room_ids)), place)
            )
        ]

    async def _acls_of(self, gates: Iterable[Gate]) -> Mapping[AclKey, ServerAcl]:
        found: dict[AclKey, ServerAcl] = {}
        missing: dict[int, AclKey] = {}
        for key in {gate.acl for gate in gates if gate.acl is not None}:
            acl = self._acls.get(key)
            if acl is None:
                missing[key[0]] = key
            else:
                found[key] = acl
        if missing:
            for event_nid, encoded in (await get_json(self._db, missing)).items():
                key = missing[event_nid]
                found[key] = parse_server_acl(decode(encoded)["content"])
                self._acls.put(key, found[key], ACL_COST_FACTOR * len(encoded))
        return found


def shut_out(origin: str) -> Forbidden:
    """The error for a server that may not take part in a room."""
    return Forbidden(f"The room does not let {origin} take part")
