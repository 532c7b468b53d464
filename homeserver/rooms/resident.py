"""What a server that is in a room does for one that is not: templates, and taking in members.

Source: server-server API, "Joining Rooms", "Knocking upon a room", "Leaving Rooms".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.build_event import build_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    NotFound,
)
from federation.protocol.event_id import reference_hashes
from federation.protocol.identifiers import EventId, ServerName, UserId, check_user_id, server_of
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import EventFormat
from federation.protocol.signatures import SigningKey, sign_event
from homeserver.clock import Clock
from homeserver.rooms.arrivals import Arrivals, find_known
from homeserver.rooms.auth_chains import MOST_EVENTS
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.remote_events import Fields, Signatures
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.server_access import ServerAccess
from homeserver.rooms.stripped_state import stripped_state_of
from homeserver.rooms.verified import verify_events
from storage.auth_chains import get_auth_chain
from storage.changes import Standing, StoredEvent
from storage.database import Database
from storage.events import find_event, get_events
from storage.names import Names
from storage.room_state import get_state
from storage.rooms import is_held_here, servers_in_room

MEMBER = "m.room.member"
MAX_SERVERS = 10_000
HEROES = 5
NAMING = ("m.room.name", "m.room.canonical_alias")
TEMPLATE_KEYS = ("room_id", "sender", "type", "state_key", "content", "depth")


@dataclass(frozen=True, slots=True)
class Template:
    """An event for another server to complete and sign."""

    room_version: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Admission:
    """What a server gets with its first member: the room before the join, and who vouches.

    `state` and `auth_chain` are PDUs as JSON; `event` is the join as it entered the room;
    `servers` are those that were in the room before.
    """

    event: bytes
    state: Sequence[bytes]
    auth_chain: Sequence[bytes]
    servers: Sequence[str]
    members_omitted: bool


class Resident:
    """Serves servers that are about to enter, knock on or leave a room of ours."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        arrivals: Arrivals,
        policies: PolicyServers,
        restricted: RestrictedJoins,
        access: ServerAccess,
        signatures: Signatures,
        clock: Clock,
        server_name: ServerName,
        key: SigningKey,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._arrivals = arrivals
        self._policies = policies
        self._restricted = restricted
        self._access = access
        self._signatures = signatures
        self._clock = clock
        self._server_name = server_name
        self._key = key

    async def template(
        self,
        origin: ServerName,
        room_id: str,
        user_id: str,
        membership: str,
        versions: Sequence[str] | None = None,
    ) -> Template:
        """A member event that the room would take from a user of the asking server.

        `versions` are those that the server speaks, None where it need not say. Raises `NotFound`,
        `Forbidden`, `IncompatibleRoomVersion`, `UnableToAuthoriseJoin`, `UnableToGrantJoin`.
        """
        check_user_id(user_id)
        if server_of(user_id) != origin:
            raise Forbidden("A server may ask for its own users only")
        room = await self._room(room_id, origin)
        if versions is not None and room.version.id not in versions:
            raise IncompatibleRoomVersion(room.version.id)
        async with room.lock:
            content: dict[str, Any] = {"membership": membership}
            if membership == "join" and await self._restricted.applies_to(room, user_id):
                voucher = await self._restricted.find_voucher(room, user_id)
                content["join_authorised_via_users_server"] = voucher
            return await self._build_template(room, UserId(user_id), content)

    async def _build_template(
        self, room: LiveRoom, user_id: UserId, content: Mapping[str, Any]
    ) -> Template:
        places = auth_event_places(MEMBER, user_id, user_id, content, room.version)
        await self._live.load_entries(room, (CREATE, *places))
        entries = [entry for place in places if (entry := room.state[place]) is not None]
        pairs = room.version.event_format is EventFormat.V1
        hashes = await self._hashes(room, [e.pdu for e in entries]) if pairs else None
        pdu = build_event(
            room_version=room.version,
            room_id=room.room_id,
            sender=user_id,
            event_type=MEMBER,
            content=content,
            depth=room.max_depth + 1,
            origin_server_ts=self._clock(),
            prev_events=list(room.extremities.values()),
            auth_events=[entry.pdu.event_id for entry in entries],
            server_name=self._server_name,
            key=self._key,
            state_key=user_id,
            opaque_id="template" if pairs else None,
            hashes_of=hashes,
        )
        check_auth(pdu, room.auth_state((CREATE, *places)))
        fields = decode(pdu.encoded)
        kept = {key: fields[key] for key in (*TEMPLATE_KEYS, "prev_events", "auth_events")}
        kept |= {"origin": self._server_name, "origin_server_ts": pdu.origin_server_ts}
        return Template(room.version.id, kept)

    async def _hashes(self, room: LiveRoom, pdus: Sequence[Pdu]) -> dict[EventId, dict[str, str]]:
        """Reference hashes of what an event of room version 1 or 2 refers to."""
        tips = await find_known(self._db, room, room.extremities.values())
        everything = [*pdus, *(known.pdu for known in tips.values())]
        return {p.event_id: reference_hashes(decode(p.encoded), room.version) for p in everything}

    async def admit(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        fields: Fields,
        membership: str,
        *,
        omit_members: bool = False,
    ) -> Admission:
        """Take a signed member event of another server's user into the room.

        Raises `NotFound`, `InvalidParam` (not such an event), `Forbidden`.
        """
        room = await self._room(room_id, origin)
        servers = await servers_in_room(self._db, room.room_nid, MAX_SERVERS)
        pdu = await self._let_in(room, origin, event_id, fields, membership)
        return await self._admission(room, pdu, servers, omit_members=omit_members)

    async def take(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        fields: Fields,
        membership: str,
    ) -> Sequence[Fields]:
        """Take a signed leave or knock; what an outsider is told of the room.

        Raises `NotFound`, `InvalidParam` (not such an event), `Forbidden`.
        """
        room = await self._room(room_id, origin)
        await self._let_in(room, origin, event_id, fields, membership)
        return await stripped_state_of(self._db, self._names, room.room_nid, None)

    async def _let_in(
        self,
        room: LiveRoom,
        origin: ServerName,
        event_id: str,
        fields: Fields,
        membership: str,
    ) -> Pdu:
        pdu = await self._verified(room, origin, event_id, fields, membership)
        async for reviewed in self._policies.review(room.room_id, [pdu]):
            if reviewed.unwanted:
                raise Forbidden(f"The event is {reviewed.unwanted[pdu.event_id]}")
            (pdu,) = reviewed.pdus
        verdicts = await self._arrivals.enter(room.room_id, [pdu], is_relayed=True)
        verdict = verdicts.get(pdu.event_id)
        if verdict is not None and verdict.standing is not Standing.ACCEPTED:
            raise Forbidden(verdict.reason or "The event is not allowed")
        return pdu

    async def _verified(
        self,
        room: LiveRoom,
        origin: ServerName,
        event_id: str,
        fields: Fields,
        membership: str,
    ) -> Pdu:
        content = fields.get("content")
        if (
            fields.get("type") != MEMBER
            or not isinstance(content, Mapping)
            or content.get("membership") != membership
            or fields.get("sender") != fields.get("state_key")
        ):
            raise InvalidParam(f"This is not an event by which a user would {membership}")
        if server_of(str(fields.get("sender"))) != origin:
            raise InvalidParam("The event is not of a user of the sending server")
        voucher = content.get("join_authorised_via_users_server")
        signed = dict(fields)
        if isinstance(voucher, str) and server_of(voucher) == self._server_name:
            signed = sign_event(fields, room.version, self._server_name, self._key)
        verified = await verify_events(self._signatures, [signed], room.room_id, room.version)
        if not verified.pdus:
            reasons = list(verified.refused.values())
            raise InvalidParam(reasons[0] if reasons else "This is not an event of the room")
        (pdu,) = verified.pdus.values()
        if pdu.event_id != event_id:
            raise InvalidParam(f"The event is {pdu.event_id}, not {event_id}")
        return pdu

    async def _state_before(self, pdu: Pdu) -> dict[int, int]:
        """The state before a member event that is in the room."""
        event = await find_event(self._db, pdu.event_id)
        if event is None or event.snapshot_nid is None or event.place_nid is None:
            raise NotFound("The event did not enter the room")
        state = await get_state(self._db, event.snapshot_nid)
        state.pop(event.place_nid, None)
        if event.replaces_nid is not None:
            state[event.place_nid] = event.replaces_nid
        return state

    async def _admission(
        self,
        room: LiveRoom,
        pdu: Pdu,
        servers: Sequence[str],
        *,
        omit_members: bool,
    ) -> Admission:
        state = await get_events(self._db, (await self._state_before(pdu)).values())
        if omit_members:
            heroes = find_heroes(state.values(), pdu.sender)
            state = {n: e for n, e in state.items() if e.type != MEMBER or n in heroes}
        cited = await self._auth_nids(room, pdu)
        chain_nids = {*cited, *await get_auth_chain(self._db, [*state, *cited], MOST_EVENTS)}
        if omit_members:
            chain_nids -= state.keys()
        chain = await get_events(self._db, chain_nids)
        return Admission(
            pdu.encoded,
            [event.json for event in state.values()],
            [event.json for event in chain.values()],
            servers,
            omit_members,
        )

    async def _auth_nids(self, room: LiveRoom, pdu: Pdu) -> list[int]:
        known = await find_known(self._db, room, pdu.auth_events)
        return [one.event_nid for one in known.values()]

    async def _room(self, room_id: str, origin: ServerName) -> LiveRoom:
        room = await self._live.get(room_id)
        await self._access.check_server_acl(room_id, origin)
        if not await is_held_here(self._db, room.room_nid):
            raise NotFound("This server is not in the room")
        return room


def find_heroes(state: Iterable[StoredEvent], joiner: str) -> set[int]:
    """The member events after which a room without a name is called by somebody who joins it."""
    members = []
    for event in state:
        if event.type in NAMING and any(event.content.get(key) for key in ("name", "alias")):
            return set()
        if event.type == MEMBER and event.content.get("membership") in ("join", "invite"):
            members.append(event)
    others = sorted(e.event_nid for e in members if e.state_key != joiner)
    return set(others[:HEROES])
