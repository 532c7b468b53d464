"""Rooms that other servers hold, for users of ours: joining, knocking, leaving, inviting.

Servers are tried in order until one lets the user in; what the last one said is what the user is
told.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from federation.outbound.directory import RemoteDirectory
from federation.outbound.errors import BackingOff, BadAnswer, FederationError
from federation.outbound.membership import JoinAnswer, RemoteDoors, RemoteTemplate
from federation.protocol.build_event import complete_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import (
    BadJson,
    BadState,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidEvent,
    MatrixError,
    NotFound,
    TooLarge,
    UnsupportedRoomVersion,
)
from federation.protocol.identifiers import (
    EventId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    is_valid_server_name,
    server_of,
)
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import ROOM_VERSIONS, EventFormat, get_room_version
from federation.protocol.signatures import SigningKey
from homeserver.clock import Clock
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.entering import Entering, Welcome
from homeserver.rooms.live import LiveRoom
from homeserver.rooms.ports import AliasTarget, DirectoryQuery
from homeserver.rooms.remote_events import Signatures
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.stripped_state import stripped_state_of
from homeserver.rooms.verified import is_storable, verify_events
from storage.database import Database
from storage.names import Names

log = logging.getLogger("hearth.membership")

T = TypeVar("T")
Through = Callable[[ServerName, bool], Awaitable[T]]
"""Does something by way of a server; the flag is whether one that failed lately is left alone."""

MOST_SERVERS_TRIED = 5
TOGETHER_S = 45.0
"""After so long no further server is tried."""
MEMBER = "m.room.member"
VOUCHER = "join_authorised_via_users_server"
BINDING = ("prev_events", "auth_events", "depth")
"""What of a template is for the room to say."""


class RemoteMembership:
    """Lets users of ours into rooms of others."""

    def __init__(
        self,
        db: Database,
        names: Names,
        doors: RemoteDoors,
        directory: RemoteDirectory,
        entering: Entering,
        elsewhere: Elsewhere,
        send: Send,
        signatures: Signatures,
        clock: Clock,
        server_name: ServerName,
        key: SigningKey,
    ) -> None:
        self._db = db
        self._names = names
        self._doors = doors
        self._directory = directory
        self._entering = entering
        self._elsewhere = elsewhere
        self._send = send
        self._signatures = signatures
        self._clock = clock
        self._server_name = server_name
        self._key = key

    async def join(
        self,
        user_id: UserId,
        room_id: RoomId,
        servers: Sequence[str],
        content: Mapping[str, Any],
    ) -> None:
        """Join a room; its state is here when this returns. Raises `NotFound`, `Forbidden`."""
        inviter = await self._elsewhere.find_inviter(user_id, room_id)
        if inviter is not None:
            servers = [*servers, server_of(inviter)]

        async def through(server: ServerName, backoff: bool) -> None:
            template = await self._doors.make_join(
                server, room_id, user_id, list(ROOM_VERSIONS), backoff=backoff
            )
            join = self._complete(server, template, room_id, user_id, "join", content)
            fields = decode(join.encoded)
            answer = await self._doors.send_join(server, room_id, join.event_id, fields)
            await self._enter(room_id, join, answer)

        await self._try_servers(user_id, room_id, servers, through)

    async def knock(
        self,
        user_id: UserId,
        room_id: RoomId,
        servers: Sequence[str],
        content: Mapping[str, Any],
    ) -> None:
        """Knock on a room. Raises `NotFound`, `Forbidden`."""

        async def through(server: ServerName, backoff: bool) -> None:
            template = await self._doors.make_knock(
                server, room_id, user_id, list(ROOM_VERSIONS), backoff=backoff
            )
            knock = self._complete(server, template, room_id, user_id, "knock", content)
            fields = decode(knock.encoded)
            shown = await self._doors.send_knock(server, room_id, knock.event_id, fields)
            await self._elsewhere.keep_knock(knock, shown)

        await self._try_servers(user_id, room_id, servers, through)

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> None:
        """Turn down an invite, or take back a knock; it is gone here even if nobody hears of it.

        Raises `NotFound`, `Forbidden` for a room of which the user has neither.
        """
        invite = await self._elsewhere.get_invite(user_id, room_id)
        room = await self._names.rooms.get(invite.room_nid)

        async def through(server: ServerName, backoff: bool) -> Pdu:
            template = await self._doors.make_leave(server, room_id, user_id, backoff=backoff)
            leave = self._complete(server, template, room_id, user_id, "leave", content)
            fields = decode(leave.encoded)
            await self._doors.send_leave(server, room_id, leave.event_id, fields)
            return leave

        try:
            leave = await self._try_servers(user_id, room_id, (), through)
        except MatrixError as error:
            log.info("nobody hears that %s leaves %s: %s", user_id, room_id, error)
            leave = self._elsewhere.build_own_leave(invite, room.version_id, content)
        await self._elsewhere.keep_leave(leave)

    async def invite(self, room_id: RoomId, invite: NewEvent) -> EventId:
        """Have the server of the invited user sign an invite, then let it into the room.

        Raises `Forbidden`, `IncompatibleRoomVersion`, `InviteBlocked`.
        """
        server = server_of(str(invite.state_key))

        async def decide(_room: LiveRoom) -> NewEvent | EventId:
            return invite

        async def sign(room: LiveRoom, pdu: Pdu) -> Pdu:
            return await self._have_signed(server, room, pdu)

        return await self._send.decide_and_send(room_id, decide, sign=sign)

    async def exchange(self, room_id: RoomId, invite: NewEvent) -> None:
        """Have the server of the sender turn a third-party invite into an invite.

        Raises what it answers, `FederationError`.
        """
        event = {
            "type": MEMBER,
            "room_id": room_id,
            "sender": invite.sender,
            "state_key": invite.state_key,
            "content": invite.content,
        }
        try:
            await self._doors.exchange_third_party_invite(server_of(invite.sender), room_id, event)
        except FederationError as error:
            raise error.relayed() from error

    async def _have_signed(self, server: ServerName, room: LiveRoom, pdu: Pdu) -> Pdu:
        fields = decode(pdu.encoded)
        shown = await stripped_state_of(self._db, self._names, room.room_nid, pdu.sender)
        try:
            answer = await self._doors.invite(
                server, room.room_id, pdu.event_id, fields, room.version.id, shown
            )
        except FederationError as error:
            raise error.relayed() from error
        verified = await verify_events(self._signatures, [answer], room.room_id, room.version)
        signed = verified.pdus.get(pdu.event_id)
        if signed is None or signed.content != pdu.content:
            raise Forbidden(f"{server} did not sign the invite")
        return signed

    async def find_alias(self, alias: RoomAlias) -> AliasTarget:
        """Ask the server of an alias where it leads. Raises `NotFound`."""
        try:
            room_id, servers = await self._directory.find_alias(server_of(alias), alias)
        except FederationError as error:
            raise error.relayed() from error
        return AliasTarget(RoomId(room_id), servers)

    async def public_rooms(self, server: ServerName, query: DirectoryQuery) -> Mapping[str, Any]:
        """A page of another server's room directory. Raises `NotFound`."""
        searched = {
            "generic_search_term": query.search_term,
            "room_types": list(query.room_types) if query.room_types is not None else None,
        }
        wanted = {
            "limit": query.limit,
            "since": query.since,
            "filter": {key: value for key, value in searched.items() if value is not None},
            "third_party_instance_id": query.third_party_network,
            "include_all_networks": query.all_networks or None,
        }
        body = {key: value for key, value in wanted.items() if value is not None}
        try:
            return await self._directory.public_rooms(server, body)
        except FederationError as error:
            raise error.relayed() from error

    async def _enter(self, room_id: RoomId, join: Pdu, answer: JoinAnswer) -> None:
        version = join.room_version
        if answer.event is not None:
            verified = await verify_events(self._signatures, [answer.event], room_id, version)
            join = cosigned(join, verified.pdus.get(join.event_id))
        if VOUCHER in join.content:
            (problem,) = await self._signatures.check_events([decode(join.encoded)], version)
            if problem is not None:
                raise BadState(f"The join that was let in is not rightly signed: {problem}")
        welcome = Welcome(join, answer.state, answer.auth_chain)
        await self._entering.enter(room_id, version, welcome)

    def _complete(
        self,
        server: ServerName,
        template: RemoteTemplate,
        room_id: RoomId,
        user_id: UserId,
        membership: str,
        content: Mapping[str, Any],
    ) -> Pdu:
        """The signed member event; of the template only what binds it to the room is used.

        Raises `BadAnswer` if that does not make an event.
        """
        offered = template.event.get("content")
        voucher = offered.get(VOUCHER) if isinstance(offered, Mapping) else None
        kept = {VOUCHER: voucher} if isinstance(voucher, str) else {}
        fields = {key: template.event[key] for key in BINDING if key in template.event} | {
            "type": MEMBER,
            "room_id": room_id,
            "sender": user_id,
            "state_key": user_id,
            "origin_server_ts": self._clock(),
            "content": {**content, **kept, "membership": membership},
        }
        try:
            version = get_room_version(template.room_version)
            pairs = version.event_format is EventFormat.V1
            opaque_id = secrets.token_urlsafe(16) if pairs else None
            event = complete_event(
                fields, version, self._server_name, self._key, opaque_id=opaque_id
            )
        except (BadJson, InvalidEvent, TooLarge, UnsupportedRoomVersion) as error:
            raise BadAnswer(server, f"its template makes no event: {error.message}") from error
        if not is_storable(event):
            raise BadAnswer(server, "its template makes an event that cannot be kept")
        return event

    async def _try_servers(
        self,
        user_id: UserId,
        room_id: RoomId,
        servers: Sequence[str],
        through: Through[T],
    ) -> T:
        """What the first server that helps answers.

        Where none is named, those are asked that are known to have to do with the room. Raises
        what the most telling of the failures says.
        """
        attempts = deque((s, True) for s in await self._candidates(user_id, room_id, servers))
        give_up_s = asyncio.get_running_loop().time() + TOGETHER_S
        failures: list[FederationError | BadState] = []
        while attempts and asyncio.get_running_loop().time() < give_up_s:
            server, backoff = attempts.popleft()
            try:
                return await through(server, backoff)
            except BackingOff as error:
                # Its turn comes when no other helps: the user may know more than we do.
                attempts.append((server, False))
                failures.append(error)
            except (FederationError, BadState) as error:
                log.info("%s does not help with %s: %s", server, room_id, error)
                failures.append(error)
                if is_final(error):
                    break
        if not failures:
            raise NotFound(f"No server is known that has the room {room_id}")
        told = min(failures, key=rank_failure)
        raise (told.relayed() if isinstance(told, FederationError) else told) from told

    async def _candidates(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[str]
    ) -> list[ServerName]:
        named = [s for s in servers if s != self._server_name]
        if not named:
            named = [*await self._elsewhere.find_servers(user_id, room_id), server_of(room_id)]
        good = [s for s in dict.fromkeys(named) if is_valid_server_name(s)]
        return [ServerName(s) for s in good if s != self._server_name][:MOST_SERVERS_TRIED]


def is_final(error: MatrixError) -> bool:
    """Whether other servers in the room would say the same."""
    errcode = error.answer_errcode if isinstance(error, FederationError) else None
    return errcode in (IncompatibleRoomVersion.errcode, UnsupportedRoomVersion.errcode)


def rank_failure(error: FederationError | BadState) -> int:
    """How little a failure tells the user: a refusal most, then a bad answer, then silence."""
    if not isinstance(error, FederationError):
        return 1
    if is_final(error) or error.answer_errcode == Forbidden.errcode:
        return 0
    return 1 if error.answer_errcode is not None else 2 if error.reachable else 3


def cosigned(ours: Pdu, theirs: Pdu | None) -> Pdu:
    """Our event as another server gave it back, which may have signed it, but not changed it."""
    if theirs is None:
        return ours
    fields, other = decode(ours.encoded), decode(theirs.encoded)
    is_same = {**fields, "signatures": {}} == {**other, "signatures": {}}
    return theirs if is_same else ours
