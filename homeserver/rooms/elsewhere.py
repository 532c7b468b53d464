"""Invites and knocks across servers: rooms that are not here, users that are.

A membership of a room that this server is not in is kept with its event as an outlier and what
was told of the room (stripped state). It ends when the user joins, or by a leave that is kept
here even if no server of the room hears of it.
Source: server-server API, "Inviting to a room", "Knocking upon a room", "Leaving Rooms".
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from federation.protocol.build_event import complete_event, cosign_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from federation.protocol.event_rendering import decode_event, dump_event
from federation.protocol.identifiers import EventId, ServerName, UserId, server_of
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import EventFormat, RoomVersion, get_room_version
from federation.protocol.signatures import SigningKey
from homeserver.rooms.history_visibility import get_memberships
from homeserver.rooms.ports import Invitations
from homeserver.rooms.remote_events import Fields, Signatures
from homeserver.rooms.verified import verify_events
from storage.add_events import AddEvent, EventSeen
from storage.changes import Membership, Standing, StoredEvent
from storage.committer import Committer, Write
from storage.database import Database
from storage.events import find_event, get_events
from storage.memberships import MemberChange
from storage.names import Names, RoomName
from storage.nids import Nids
from storage.out_of_band import SetMembershipElsewhere
from storage.rooms import AddRoom, RoomExists, is_held_here, servers_in_room, take_room_nid
from storage.spaces import memberships_of
from storage.tombstones import who_leads_to

log = logging.getLogger("hearth.membership")
MEMBER = "m.room.member"
CREATE = "m.room.create"
MAX_STRIPPED_EVENTS = 100
MAX_STRIPPED_BYTES = 262_144
"""What is shown of a room that somebody was invited to: as much as ever was useful."""
MAX_SERVERS = 10


class Elsewhere:
    """Memberships of rooms that other servers hold."""

    def __init__(
        self,
        db: Database,
        names: Names,
        nids: Nids,
        committer: Committer,
        signatures: Signatures,
        invitations: Invitations,
        server_name: ServerName,
        key: SigningKey,
    ) -> None:
        self._db = db
        self._names = names
        self._nids = nids
        self._committer = committer
        self._signatures = signatures
        self._invitations = invitations
        self._server_name = server_name
        self._key = key

    async def take_invite(
        self,
        origin: ServerName,
        room_id: str,
        event_id: str,
        version_id: str,
        fields: Fields,
        stripped_state: Sequence[Fields],
    ) -> Pdu:
        """Sign an invite of a user of ours and show it to the user; the signed invite.

        Raises `UnsupportedRoomVersion`, `InvalidParam` (not such an invite), `InviteBlocked`,
        `Forbidden`.
        """
        version = get_room_version(version_id)
        verified = await verify_events(self._signatures, [fields], room_id, version)
        invite = next(iter(verified.pdus.values()), None)
        if invite is None or invite.event_id != event_id:
            reasons = list(verified.refused.values())
            raise InvalidParam(reasons[0] if reasons else "The invite is another event")
        if invite.type != MEMBER or invite.content.get("membership") != "invite":
            raise InvalidParam("The event is not an invite")
        invitee = str(invite.state_key)
        if server_of(invitee) != self._server_name or server_of(invite.sender) != origin:
            raise InvalidParam("The invite is not from you for a user of this server")
        await self._invitations.check_invite(invite.sender, UserId(invitee))
        if await self._names.users.find_nid(invitee) is None:
            raise NotFound("The invited user does not exist")
        shown = list(stripped_state[:MAX_STRIPPED_EVENTS])
        if must_be_pdus(version):
            genuine = await self._genuine(shown, room_id, version)
            if len(genuine) < len(shown) or not any(e["type"] == CREATE for e in genuine):
                raise InvalidParam("The invite's state has no create event, or other than events")
        signed = cosign_event(invite, self._server_name, self._key)
        room = await self._names.rooms.find(room_id)
        if room is None or not await is_held_here(self._db, room.room_nid):
            await self._keep(signed, Membership.INVITE, encode_shown(shown))
        return signed

    async def keep_knock(self, knock: Pdu, stripped_state: Sequence[Fields]) -> None:
        """Remember a knock that a server of the room has taken."""
        shown = list(stripped_state[:MAX_STRIPPED_EVENTS])
        if must_be_pdus(knock.room_version):
            shown = await self._genuine(shown, knock.room_id, knock.room_version)
        await self._keep(knock, Membership.KNOCK, encode_shown(shown))

    async def keep_leave(self, leave: Pdu) -> None:
        """Remember that an invite was turned down, or a knock taken back."""
        await self._keep(leave, Membership.LEAVE, None)

    async def take_ends(
        self, origin: str, room_id: str, events: Sequence[Fields]
    ) -> dict[EventId, str | None]:
        """Take events of a room that is not here: those that end an invite or knock of our users.

        For each why it is refused, or None. Raises `NotFound` for a room that nobody here knows.
        """
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        version = get_room_version(room.version_id)
        verified = await verify_events(self._signatures, events, room_id, version)
        results: dict[EventId, str | None] = dict(verified.refused)
        for event_id, pdu in verified.pdus.items():
            if await self._ends_membership(pdu, room.room_nid, origin):
                await self.keep_leave(pdu)
                results[event_id] = None
            else:
                results[event_id] = "this server is not in the room"
        return results

    async def _genuine(
        self, events: Sequence[Fields], room_id: str, version: RoomVersion
    ) -> list[Fields]:
        """Those of the events that are well-formed, of the room and signed as they must be."""
        verified = await verify_events(self._signatures, events, room_id, version)
        return [decode(pdu.encoded) for pdu in verified.pdus.values()]

    async def _ends_membership(self, pdu: Pdu, room_nid: int, origin: str) -> bool:
        target = str(pdu.state_key)
        ends = pdu.content.get("membership") in ("leave", "ban")
        if pdu.type != MEMBER or not ends or server_of(target) != self._server_name:
            return False
        user_nid = await self._names.users.find_nid(target)
        if user_nid is None or server_of(pdu.sender) != origin:
            return False
        own = (await get_memberships(self._db, user_nid, [room_nid])).get(room_nid)
        if own is None or own.membership not in (Membership.INVITE, Membership.KNOCK):
            return False
        if own.membership is Membership.KNOCK:
            return True
        # Without the room's state it cannot be told who else may take an invite back.
        invite = (await get_events(self._db, [own.event_nid]))[own.event_nid]
        return invite.sender == pdu.sender

    async def get_invite(self, user_id: UserId, room_id: str) -> StoredEvent:
        """The event of a user's invite to, or knock on, a room elsewhere.

        Raises `NotFound`, `Forbidden` when there is neither.
        """
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        user_nid = await self._names.users.get_nid(user_id)
        own = (await get_memberships(self._db, user_nid, [room.room_nid])).get(room.room_nid)
        if own is None or own.membership not in (Membership.INVITE, Membership.KNOCK):
            raise Forbidden("You are neither invited nor knocking")
        return (await get_events(self._db, [own.event_nid]))[own.event_nid]

    async def find_servers(self, user_id: UserId, room_id: str) -> list[str]:
        """Servers that may let a user into, or out of, a room that is not here.

        They are of who invited the user, who shows up in the stripped state, who upgraded one of
        the user's rooms to this one; and those that were in the room when this server was.
        """
        user_nid = await self._names.users.get_nid(user_id)
        known = (await memberships_of(self._db, user_nid, [room_id])).get(room_id)
        shown = orjson.loads(known.stripped_state) if known and known.stripped_state else []
        inviter = await self.find_inviter(user_id, room_id)
        users: list[str] = [] if inviter is None else [inviter]
        users += [str(event["sender"]) for event in shown if "sender" in event]
        users += await who_leads_to(self._db, user_nid, room_id)
        room = await self._names.rooms.find(room_id)
        former = await servers_in_room(self._db, room.room_nid, MAX_SERVERS) if room else []
        return list(dict.fromkeys([*map(server_of, users), *former]))

    async def find_inviter(self, user_id: UserId, room_id: str) -> UserId | None:
        """Who has invited a user to a room elsewhere."""
        try:
            invite = await self.get_invite(user_id, room_id)
        except (NotFound, Forbidden):
            return None
        return UserId(invite.sender) if invite.sender != user_id else None

    def build_own_leave(
        self, invite: StoredEvent, version_id: str, content: Mapping[str, Any]
    ) -> Pdu:
        """A leave for when no server of the room can be reached; it stays with us."""
        version = get_room_version(version_id)
        pairs = version.event_format is EventFormat.V1
        template = {
            "room_id": invite.fields["room_id"],
            "type": MEMBER,
            "sender": invite.state_key,
            "state_key": invite.state_key,
            "content": {**content, "membership": "leave"},
            "depth": invite.depth + 1,
            "origin_server_ts": invite.fields["origin_server_ts"] + 1,
            "prev_events": [] if pairs else [invite.event_id],
            "auth_events": [] if pairs else [invite.event_id],
        }
        opaque_id = secrets.token_urlsafe(16) if pairs else None
        return complete_event(template, version, self._server_name, self._key, opaque_id=opaque_id)

    async def _keep(self, pdu: Pdu, membership: Membership, stripped: bytes | None) -> None:
        while True:
            room = await self._names.rooms.find(pdu.room_id)
            try:
                await self._committer.commit(*await self._writes(room, pdu, membership, stripped))
            except (RoomExists, EventSeen):
                continue
            return

    async def _writes(
        self, room: RoomName | None, pdu: Pdu, membership: Membership, stripped: bytes | None
    ) -> list[Write]:
        writes: list[Write] = []
        room_nid = room.room_nid if room is not None else await take_room_nid(self._db)
        if room is None:
            version_id = pdu.room_version.id
            writes.append(
                AddRoom(
                    room_nid, pdu.room_id, version_id, None, pdu.origin_server_ts, published=False
                )
            )
        stored = await find_event(self._db, pdu.event_id)
        if stored is not None and stored.room_nid != room_nid:
            raise InvalidParam("Another room has an event of this ID")
        sender_nid = await self._names.users.get_nid(pdu.sender)
        if stored is None:
            stored = StoredEvent(
                (await self._nids.events.take())[0],
                None,
                pdu.depth,
                room_nid,
                sender_nid,
                await self._names.places.get_nid(pdu.state_place),
                None,
                None,
                None,
                Standing.OUTLIER,
                pdu.event_id,
                pdu.encoded,
                decode_event(pdu.encoded, pdu.room_version),
            )
            type_nid = await self._names.types.get_nid(pdu.type)
            writes.append(AddEvent(stored, type_nid, pdu.origin_server_ts, (), ()))
        user_nid = await self._names.users.get_nid(str(pdu.state_key))
        member = MemberChange(
            user_nid,
            sender_nid,
            stored.event_nid,
            membership,
            is_local=True,
            stripped_state=stripped,
        )
        writes.append(SetMembershipElsewhere(room_nid, member))
        return writes


def must_be_pdus(version: RoomVersion) -> bool:
    """Whether what is told of a room with an invite or a knock has to be whole, signed events.

    In older versions many servers send stripped ones. Source: server-server API,
    `PUT /_matrix/federation/v2/invite`.
    """
    return version.create_event_is_room_id


def encode_shown(stripped_state: Sequence[Fields]) -> bytes:
    """What another server shows of its room, as much of it as is kept, as JSON."""
    shown, size = list[bytes](), 0
    for event in stripped_state[:MAX_STRIPPED_EVENTS]:
        encoded = dump_event(dict(event))
        size += len(encoded)
        if size > MAX_STRIPPED_BYTES:
            break
        if is_state_event(event):
            shown.append(encoded)
    return b"[%s]" % b",".join(shown)


def is_state_event(event: Fields) -> bool:
    """Whether an event has the form that clients rely on."""
    texts = (event.get(name) for name in ("type", "state_key", "sender"))
    return isinstance(event.get("content"), Mapping) and all(isinstance(t, str) for t in texts)
