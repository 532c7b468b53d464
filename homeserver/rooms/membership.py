"""Memberships as users of this server ask for them: joining, leaving, inviting, kicking, banning.

Each change is checked and made with the room's lock held. Rooms that this server does not hold,
and users of other servers, are left to `RemoteRooms`.
Source: client-server API, "Room membership".
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import CREATE, member_place
from federation.protocol.errors import (
    BadState,
    CannotLeaveServerNoticeRoom,
    Forbidden,
    GuestAccessForbidden,
    NotFound,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    Unknown,
)
from federation.protocol.identifiers import (
    EventId,
    RoomId,
    ServerName,
    UserId,
    check_user_id,
    server_of,
)
from homeserver.rooms.live import LiveRoom, LiveRooms, StateEntry
from homeserver.rooms.ports import Invitations, MemberProfiles, RemoteRooms
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.successors import Successors
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from storage.changes import Membership
from storage.database import Database
from storage.memberships import (
    find_membership,
    forget_room,
    guests_in_room,
)
from storage.names import Names
from storage.rooms import is_held_here, servers_in_room

MEMBER = "m.room.member"
GUEST_ACCESS = ("m.room.guest_access", "")
VOUCHER = "join_authorised_via_users_server"
MAX_SERVERS = 10
"""Servers that are asked to help with a join, besides those that the user names."""

MemberCheck = Callable[[LiveRoom, StateEntry | None], Awaitable[Mapping[str, Any] | None]]
"""Given the room and the target's present member event: the content of the new one, None if it
is to stay. Raises what forbids the change."""


@dataclass(frozen=True, slots=True)
class Joiner:
    """Who wants to join or knock, and what is needed of the account."""

    user_id: UserId
    is_guest: bool = False


class Memberships:
    """Changes memberships."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        send: Send,
        restricted: RestrictedJoins,
        profiles: MemberProfiles,
        invitations: Invitations,
        remote: RemoteRooms,
        third_party: ThirdPartyInvites,
        successors: Successors,
        server_name: ServerName,
        notices_sender: UserId | None = None,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._send = send
        self._restricted = restricted
        self._profiles = profiles
        self._invitations = invitations
        self._remote = remote
        self._third_party = third_party
        self._successors = successors
        self._server_name = server_name
        self._notices_sender = notices_sender

    async def join(
        self,
        joiner: Joiner,
        room_id: RoomId,
        *,
        servers: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
        third_party_signed: Mapping[str, Any] | None = None,
    ) -> None:
        """Join a room, by way of one of `servers` if this one is not in it.

        Somebody who is joined stays so, without a new event. Raises `NotFound`, `Forbidden`,
        `GuestAccessForbidden`.
        """
        content = await self.own_content(joiner.user_id, "join", extra)
        if not await self._is_held(room_id):
            if joiner.is_guest:
                raise GuestAccessForbidden("Guests may not join rooms that are not on this server")
            await self._join_remotely(joiner.user_id, room_id, servers, content)
            return
        if third_party_signed is not None:
            await self._third_party.redeem(room_id, joiner.user_id, third_party_signed)

        already_joined = False

        async def check(room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any] | None:
            nonlocal already_joined
            already_joined = membership_of(current) == "join"
            return None if already_joined else await self._join_content(room, joiner, content)

        try:
            await self._change(room_id, joiner.user_id, joiner.user_id, check)
        except (UnableToAuthoriseJoin, UnableToGrantJoin) as refusal:
            others = [*servers, *await self._other_servers(room_id)]
            if not others:
                raise Forbidden(refusal.message) from refusal
            await self._join_remotely(joiner.user_id, room_id, others, content)
        else:
            if not already_joined:
                await self._successors.joined(joiner.user_id, room_id)

    async def knock(
        self, joiner: Joiner, room_id: RoomId, *, servers: Sequence[str] = (), reason: str | None
    ) -> None:
        """Ask for an invite. Raises `NotFound`, `Forbidden`."""
        content = await self.own_content(joiner.user_id, "knock", with_reason(reason))
        if not await self._is_held(room_id):
            await self._remote.knock(joiner.user_id, room_id, servers, content)
            return
        await self._change(room_id, joiner.user_id, joiner.user_id, always(content))

    async def leave(self, user_id: UserId, room_id: RoomId, reason: str | None = None) -> None:
        """Leave a room, turn down an invite or take back a knock.

        Somebody who has gone already stays so, without a new event. Raises `Forbidden`,
        `NotFound`, `CannotLeaveServerNoticeRoom`.
        """
        content = {"membership": "leave", **with_reason(reason)}
        if not await self._is_held(room_id):
            await self._remote.leave(user_id, room_id, content)
            return

        async def check(_room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any] | None:
            self._check_may_refuse(current)
            gone = current is not None and membership_of(current) == "leave"
            return None if gone else content

        await self._change(room_id, user_id, user_id, check)

    async def invite(
        self,
        sender: UserId,
        room_id: RoomId,
        target: UserId,
        extra: Mapping[str, Any] | None = None,
        origin_server_ts: int | None = None,
    ) -> EventId:
        """Invite somebody. Raises `NotFound`, `Forbidden`, `InviteBlocked`."""
        check_user_id(target)
        if server_of(target) != self._server_name:
            content = {"membership": "invite", **(extra or {})}
            await self._check_federated(room_id)
            new = NewEvent(sender, MEMBER, content, target, origin_server_ts=origin_server_ts)
            return await self._remote.invite(room_id, new)
        await self._invitations.check_invite(sender, target)
        content = await self.own_content(target, "invite", extra)
        return await self._change(room_id, sender, target, always(content), origin_server_ts)

    async def kick(
        self, sender: UserId, room_id: RoomId, target: UserId, reason: str | None = None
    ) -> EventId:
        """Make somebody leave, or take an invite back, or turn a knock down. Raises `Forbidden`."""
        return await self._expel(
            sender, room_id, target, {"membership": "leave", **with_reason(reason)}
        )

    async def ban(
        self, sender: UserId, room_id: RoomId, target: UserId, reason: str | None = None
    ) -> EventId:
        """Make somebody leave and keep them out. Raises `Forbidden`."""
        content = {"membership": "ban", **with_reason(reason)}
        return await self._change(room_id, sender, target, always(content))

    async def unban(
        self, sender: UserId, room_id: RoomId, target: UserId, reason: str | None = None
    ) -> EventId:
        """Lift a ban. Raises `Forbidden`, `BadState` (there is none)."""
        content = {"membership": "leave", **with_reason(reason)}

        async def check(_room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any]:
            if membership_of(current) != "ban":
                raise BadState(f"{target} is not banned")
            return content

        return await self._change(room_id, sender, target, check)

    async def set_member(
        self,
        sender: Joiner,
        room_id: RoomId,
        target: UserId,
        content: Mapping[str, Any],
        origin_server_ts: int | None = None,
    ) -> EventId:
        """Send a member event with a content of the user's own, as a state event.

        `origin_server_ts` is set only where somebody may choose it.
        It obeys what the other ways to the same membership obey. Raises as they do.
        """
        content = {key: value for key, value in content.items() if key != VOUCHER}
        membership = content.get("membership")
        if membership == "invite":
            extra = {key: value for key, value in content.items() if key != "membership"}
            return await self.invite(sender.user_id, room_id, target, extra, origin_server_ts)
        is_own = sender.user_id == target
        kind = self._join_check if membership == "join" else self._refusal_check
        check = kind(sender, content) if is_own else always(content)
        return await self._change(room_id, sender.user_id, target, check, origin_server_ts)

    async def forget(self, user_nid: int, room_id: RoomId) -> None:
        """Have /sync and history no longer show a room that the user has left.

        Raises `Unknown` while the user is in the room, invited or knocking.
        """
        room = await self._names.rooms.find(room_id)
        if room is None:
            raise NotFound(f"There is no room {room_id} here")
        membership = await find_membership(self._db, user_nid, room.room_nid)
        if membership not in (None, Membership.LEAVE, Membership.BAN):
            raise Unknown(f"You have not left {room_id}")
        await forget_room(self._db, user_nid, room.room_nid)

    async def set_profile(
        self, user_id: UserId, room_id: RoomId, profile: Mapping[str, str]
    ) -> None:
        """Show another profile in a room, if the user is in it."""

        async def check(_room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any] | None:
            if current is None or membership_of(current) != "join":
                return None
            content = current.pdu.content
            return {**{k: v for k, v in content.items() if k not in OF_THE_MOMENT}, **profile}

        await self._change(room_id, user_id, user_id, check)

    async def remove_guests(self, room_id: RoomId) -> None:
        """Have this server's guests leave a room that takes guests no longer.

        Source: client-server API, "Guest access", server behaviour.
        """
        room = await self._live.get(room_id)
        async with room.lock:
            await self._live.load_entries(room, (GUEST_ACCESS,))
            welcome = lets_guests_in(room.state[GUEST_ACCESS])
        if not welcome:
            for guest in await guests_in_room(self._db, room.room_nid):
                await self.leave(guest, room_id)

    async def own_content(
        self, user_id: UserId, membership: str, extra: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The content of a member event of a user of this server: with the profile, and `extra`."""
        profile = await self._profiles.get(user_id)
        extra = {k: v for k, v in (extra or {}).items() if k != VOUCHER}
        return {**profile, **extra, "membership": membership}

    def _check_may_refuse(self, current: StateEntry | None) -> None:
        """Raise `CannotLeaveServerNoticeRoom` for an invite that comes from the server itself.

        Source: client-server API, "Server Notices".
        """
        is_invited = membership_of(current) == "invite"
        if is_invited and current is not None and current.pdu.sender == self._notices_sender:
            raise CannotLeaveServerNoticeRoom("Notices of the server cannot be turned down")

    async def _join_remotely(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[str], content: Mapping[str, Any]
    ) -> None:
        try:
            await self._remote.join(user_id, room_id, servers, content)
        except (UnableToAuthoriseJoin, UnableToGrantJoin) as refusal:
            raise Forbidden(refusal.message) from refusal
        await self._successors.joined(user_id, room_id)

    def _join_check(self, joiner: Joiner, content: Mapping[str, Any]) -> MemberCheck:
        """The check of a join, or of a change of who is joined already."""

        async def check(room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any]:
            if membership_of(current) == "join":
                return content
            return await self._join_content(room, joiner, content)

        return check

    def _refusal_check(self, _member: Joiner, content: Mapping[str, Any]) -> MemberCheck:
        """The check of a change of one's own that is no join."""

        async def check(_room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any]:
            self._check_may_refuse(current)
            return content

        return check

    async def _join_content(
        self, room: LiveRoom, joiner: Joiner, content: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The content of a join, with who lets the user in where somebody must."""
        if joiner.is_guest:
            await self._live.load_entries(room, (GUEST_ACCESS,))
            if not lets_guests_in(room.state[GUEST_ACCESS]):
                raise GuestAccessForbidden("Guests may not join this room")
        if await self._restricted.applies_to(room, joiner.user_id):
            return {**content, VOUCHER: await self._restricted.find_voucher(room, joiner.user_id)}
        return content

    async def _expel(
        self, sender: UserId, room_id: RoomId, target: UserId, content: Mapping[str, Any]
    ) -> EventId:
        async def check(_room: LiveRoom, current: StateEntry | None) -> Mapping[str, Any]:
            if membership_of(current) not in ("join", "invite", "knock"):
                raise Forbidden(f"{target} is not in the room")
            return content

        return await self._change(room_id, sender, target, check)

    async def _change(
        self,
        room_id: RoomId,
        sender: UserId,
        target: UserId,
        check: MemberCheck,
        origin_server_ts: int | None = None,
    ) -> EventId:
        """Send the member event that `check` gives, unless the present one says the same.

        Answers the member event that then stands. Raises what `check` raises, `AuthRuleFailed`,
        `NotFound`.
        """
        check_user_id(target)
        place = member_place(target)

        async def decide(room: LiveRoom) -> NewEvent | EventId:
            await self._live.load_entries(room, (place,))
            current = room.state[place]
            content = await check(room, current)
            if current is not None and (content is None or is_same(current, sender, content)):
                return current.pdu.event_id
            if content is None:
                raise Forbidden(f"{target} is not in the room")
            return NewEvent(sender, MEMBER, content, target, origin_server_ts=origin_server_ts)

        return await self._send.decide_and_send(room_id, decide)

    async def _is_held(self, room_id: RoomId) -> bool:
        room = await self._names.rooms.find(room_id)
        return room is not None and await is_held_here(self._db, room.room_nid)

    async def _other_servers(self, room_id: RoomId) -> list[str]:
        room = await self._names.rooms.find(room_id)
        servers = await servers_in_room(self._db, room.room_nid, MAX_SERVERS) if room else []
        return [server for server in servers if server != self._server_name]

    async def _check_federated(self, room_id: RoomId) -> None:
        """Raise `Forbidden` for a room that users of other servers cannot be in."""
        room = await self._live.get(room_id)
        create = room.state[CREATE]
        if create is not None and create.pdu.content.get("m.federate") is False:
            raise Forbidden("Users of other servers cannot be in this room")


OF_THE_MOMENT = ("displayname", "avatar_url", "reason", VOUCHER)
"""What a member event does not hand on to the next one when the profile changes."""


def always(content: Mapping[str, Any]) -> MemberCheck:
    """The check that forbids nothing."""

    async def check(_room: LiveRoom, _current: StateEntry | None) -> Mapping[str, Any]:
        return content

    return check


def with_reason(reason: str | None) -> dict[str, Any]:
    """What a member event says of its reason."""
    return {} if reason is None else {"reason": reason}


def membership_of(entry: StateEntry | None) -> str | None:
    """The membership that a member event gives; None where there is no event."""
    return None if entry is None else entry.pdu.content.get("membership")


def is_same(entry: StateEntry, sender: str, content: Mapping[str, Any]) -> bool:
    """Whether a member event of this sender and content would change nothing."""
    return entry.pdu.sender == sender and entry.pdu.content == content


def lets_guests_in(entry: StateEntry | None) -> bool:
    """Whether guests may be in the room, by its `m.room.guest_access` event."""
    return entry is not None and entry.pdu.content.get("guest_access") == "can_join"
