"""Creating rooms: all first events of a room enter it in one commit.

From room version 12 on the room's ID is the hash of its create event. Two rooms that one user
creates with the same parameters at the same millisecond would be one, so creation times of this
process rise strictly, and when another process was just as fast, the next millisecond is tried.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.create import check_create
from federation.protocol.build_event import build_event
from federation.protocol.errors import (
    AuthRuleFailed,
    Forbidden,
    InvalidRoomState,
    MatrixError,
    RoomInUse,
)
from federation.protocol.identifiers import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    check_room_alias,
    server_of,
)
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import EventFormat, RoomVersion
from federation.protocol.signatures import SigningKey
from homeserver.clock import Clock
from homeserver.config.sections.rooms import Rooms as RoomSettings
from homeserver.rooms.append import Append
from homeserver.rooms.encryption_policy import with_policy
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.membership import Memberships
from homeserver.rooms.ports import Invitations, ServiceAliases
from homeserver.rooms.presets import RoomRequest, StateEvent, create_content, first_state
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.successors import Successors
from storage.aliases import AddAlias, AliasTaken, find_alias
from storage.committer import Write
from storage.database import Database
from storage.names import Names, RoomName
from storage.rooms import AddRoom, RoomExists, take_room_nid

ATTEMPTS = 8
OPAQUE_BYTES = 15
"""Randomness in the IDs of rooms before version 12."""


@dataclass(frozen=True, slots=True)
class NewRoom:
    """A room that is staged but not committed, and the writes of its first event."""

    live: LiveRoom
    created_ts: int
    writes: Sequence[Write]

    @property
    def room_id(self) -> RoomId:
        """Its ID."""
        return self.live.room_id


class RoomCreation:
    """Creates rooms."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        append: Append,
        send: Send,
        memberships: Memberships,
        successors: Successors,
        invitations: Invitations,
        services: ServiceAliases,
        settings: RoomSettings,
        clock: Clock,
        server_name: ServerName,
        key: SigningKey,
        *,
        has_calls: bool = False,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._append = append
        self._send = send
        self._memberships = memberships
        self._successors = successors
        self._invitations = invitations
        self._services = services
        self._settings = settings
        self._clock = clock
        self._server_name = server_name
        self._key = key
        self._has_calls = has_calls
        self._last_ts = 0

    async def create(
        self,
        creator: UserId,
        request: RoomRequest,
        version: RoomVersion,
        *,
        is_admin: bool,
        service_id: str | None = None,
    ) -> RoomId:
        """Create a room with its first state; invite whom its creator wants in it.

        `service_id` is the application service that acts as the creator, if one does.
        Raises `Forbidden` (settings), `RoomInUse`, `Exclusive`, `InvalidParam`, `InvalidRoomState`,
        `InviteBlocked`.
        """
        self._check_settings(request, is_admin=is_admin)
        request = with_policy(request, self._settings.encryption)
        if self._has_calls and not request.is_of_the_server and not request.is_space:
            request = replace(request, open_to_calls=True)
        alias = await self._check_alias(request.alias_localpart, service_id)
        local = [user for user in request.invite if server_of(user) == self._server_name]
        remote = [user for user in request.invite if server_of(user) != self._server_name]
        if remote and request.creation_content.get("m.federate") is False:
            raise Forbidden("Users of other servers cannot be in a room that is not federated")
        for user in local:
            await self._invitations.check_invite(creator, user)
        events = first_state(request, creator, version, alias)
        events += [await self._invite(user, is_direct=request.is_direct) for user in local]
        content = create_content(request, creator, version)
        room_id = await self._commit(
            creator, content, version, events, alias=alias, published=request.published
        )
        await self._successors.joined(creator, room_id)
        await self._invite_remote(creator, room_id, remote, is_direct=request.is_direct)
        return room_id

    def new_room_id(self, version: RoomVersion) -> RoomId | None:
        """An ID for a room, or None where the ID comes from the create event."""
        if version.create_event_is_room_id:
            return None
        return RoomId(f"!{secrets.token_urlsafe(OPAQUE_BYTES)}:{self._server_name}")

    @asynccontextmanager
    async def stage(
        self,
        creator: UserId,
        content: Mapping[str, Any],
        version: RoomVersion,
        *,
        published: bool,
        room_id: RoomId | None,
    ) -> AsyncIterator[NewRoom]:
        """A new room with its create event and its creator in it, to be filled and committed.

        `room_id` comes from `new_room_id`. If the block is left by an exception, the room has
        never been.
        """
        room_nid = await take_room_nid(self._db)
        ts = self._last_ts = max(self._clock(), self._last_ts + 1)
        pdu = self._create_event(creator, content, version, room_id, ts)
        room = self._live.add(RoomName(room_nid, pdu.room_id, version.id))
        creator_nid = await self._names.users.get_nid(creator)
        try:
            async with room.lock:
                room.set_entry(CREATE, None)
                added = AddRoom(room_nid, pdu.room_id, version.id, creator_nid, ts, published)
                writes = [added, *await self._append.stage(room, pdu, ())]
                member = await self._memberships.own_content(creator, "join")
                joined = StateEvent("m.room.member", creator, member)
                writes += await self.stage_events(room, creator, [joined], ts)
                yield NewRoom(room, ts, writes)
        except BaseException:
            self._live.drop(room)
            raise

    async def stage_events(
        self, room: LiveRoom, sender: UserId, events: Iterable[StateEvent], ts: int
    ) -> list[Write]:
        """The writes of more first events. Raises `InvalidRoomState`, `TooLarge`, `BadJson`."""
        writes: list[Write] = []
        for event in events:
            new = NewEvent(sender, event.type, event.content, event.state_key, origin_server_ts=ts)
            know_empty_places(room, new)
            try:
                pdu, auth_nids = await self._send.make(room, new)
            except AuthRuleFailed as error:
                message = f"The room's rules do not allow its first {event.type}: {error.message}"
                raise InvalidRoomState(message) from error
            writes += await self._append.stage(room, pdu, auth_nids)
        return writes

    def _create_event(
        self,
        creator: UserId,
        content: Mapping[str, Any],
        version: RoomVersion,
        room_id: RoomId | None,
        ts: int,
    ) -> Pdu:
        old_format = version.event_format is EventFormat.V1
        pdu = build_event(
            room_version=version,
            room_id=room_id,
            sender=creator,
            event_type=CREATE[0],
            content=content,
            depth=1,
            origin_server_ts=ts,
            prev_events=[],
            auth_events=[],
            server_name=self._server_name,
            key=self._key,
            state_key=CREATE[1],
            opaque_id=secrets.token_urlsafe(OPAQUE_BYTES) if old_format else None,
        )
        try:
            check_create(pdu)
        except AuthRuleFailed as error:
            raise InvalidRoomState(error.message) from error
        return pdu

    async def _commit(
        self,
        creator: UserId,
        content: Mapping[str, Any],
        version: RoomVersion,
        events: Sequence[StateEvent],
        *,
        alias: RoomAlias | None,
        published: bool,
    ) -> RoomId:
        creator_nid = await self._names.users.get_nid(creator)
        for _ in range(ATTEMPTS):
            room_id = self.new_room_id(version)
            async with self.stage(
                creator, content, version, published=published, room_id=room_id
            ) as new:
                writes = list(new.writes)
                if alias is not None:
                    writes.append(AddAlias(alias, new.room_id, creator_nid))
                writes += await self.stage_events(new.live, creator, events, new.created_ts)
                done = self._append.submit(new.live, writes)
            try:
                await asyncio.shield(done)
            except RoomExists:
                continue
            except AliasTaken as error:
                raise RoomInUse(f"The room alias {alias} is taken") from error
            return new.room_id
        raise RoomExists

    def _check_settings(self, request: RoomRequest, *, is_admin: bool) -> None:
        if is_admin:
            return
        if self._settings.creation == "admins":
            raise Forbidden("Only administrators may create rooms on this server")
        if request.alias_localpart is not None and self._settings.alias_creation == "admins":
            raise Forbidden("Only administrators may create room aliases on this server")
        if request.published and self._settings.directory_publication != "everyone":
            raise Forbidden("You may not publish rooms in this server's directory")

    async def _check_alias(self, localpart: str | None, service_id: str | None) -> RoomAlias | None:
        if localpart is None:
            return None
        alias = check_room_alias(f"#{localpart}:{self._server_name}")
        self._services.check_alias(alias, service_id)
        if await find_alias(self._db, alias) is not None:
            raise RoomInUse(f"The room alias {alias} is taken")
        return alias

    async def _invite(self, user: UserId, *, is_direct: bool) -> StateEvent:
        content = await self._memberships.own_content(user, "invite")
        return StateEvent("m.room.member", user, content | direct_flag(is_direct=is_direct))

    async def _invite_remote(
        self, creator: UserId, room_id: RoomId, users: Sequence[UserId], *, is_direct: bool
    ) -> None:
        """Invite users of other servers; raise what went wrong if nobody could be invited."""
        failures: list[MatrixError] = []
        for user in users:
            try:
                await self._memberships.invite(
                    creator, room_id, user, direct_flag(is_direct=is_direct)
                )
            except MatrixError as error:
                failures.append(error)
        if failures and len(failures) == len(users):
            raise failures[0]


def know_empty_places(room: LiveRoom, new: NewEvent) -> None:
    """Spare the database the question for state that a room which is not there yet cannot have."""
    places = auth_event_places(new.type, new.state_key, new.sender, new.content, room.version)
    for place in (*places, (new.type, new.state_key or "")):
        if place not in room.state:
            room.set_entry(place, None)


def direct_flag(*, is_direct: bool) -> dict[str, Any]:
    """What an invite to a direct chat says of it."""
    return {"is_direct": True} if is_direct else {}
