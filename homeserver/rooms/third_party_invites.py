"""Invites by e-mail address or telephone number, once their owners are known.

Somebody's `m.room.third_party_invite` offers an invite to whoever shows a token that the identity
server of the offer has signed. Whichever server is in the room then makes the invite, in the name
of who made the offer; where the invited user's is not, it asks the offerer's.
Source: server-server API, "Third-party invites".
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from federation.inbound.membership_ports import PendingInvite
from federation.protocol.auth_events import member_place
from federation.protocol.auth_rules.third_party_invite import OfferKey, vouching_keys
from federation.protocol.errors import Forbidden, InvalidParam, MatrixError, NotFound
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_of
from federation.protocol.pdu import Pdu
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.ports import Invitations, KeyValidity, RemoteRooms
from homeserver.rooms.send import NewEvent, Send
from storage.accounts import find_accounts
from storage.database import Database
from storage.names import Names
from storage.rooms import is_held_here

log = logging.getLogger("hearth.membership")

MEMBER = "m.room.member"
OFFER = "m.room.third_party_invite"
HERE = ("join", "invite")


class ThirdPartyInvites:
    """Turns third-party invites into invites."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        send: Send,
        invitations: Invitations,
        remote: RemoteRooms,
        keys: KeyValidity,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._send = send
        self._invitations = invitations
        self._remote = remote
        self._keys = keys
        self._server_name = server_name

    async def bound(self, user_id: UserId, invites: Sequence[PendingInvite]) -> None:
        """An address was bound to a user of ours; the invites that waited for it are made.

        All are tried. Raises `NotFound` (no such user), then what the first failure was.
        """
        account = (await find_accounts(self._db, [user_id])).get(user_id)
        if account is None or account.is_deactivated:
            raise NotFound(f"There is no user {user_id} here")
        for invite in invites:
            check_proof(invite.signed, user_id)
        done = await asyncio.gather(*(self._make(user_id, invite) for invite in invites))
        for failure in done:
            if failure is not None:
                raise failure

    async def redeem(self, room_id: RoomId, target: UserId, signed: Mapping[str, Any]) -> None:
        """Turn an offer in a room of ours into an invite of a user of ours.

        Source: client-server API, `third_party_signed` of `POST /join`. Raises `Forbidden`.
        """
        sender, token = signed.get("sender"), signed.get("token")
        if not isinstance(sender, str) or not isinstance(token, str):
            raise Forbidden("The third-party invite names no sender or no token")
        await self._invite(room_id, UserId(sender), target, signed)

    async def exchange(self, origin: ServerName, room_id: RoomId, event: Mapping[str, Any]) -> None:
        """Turn an offer that a user of ours made into an invite of a user of `origin`.

        Raises `InvalidParam` (not such an event), `Forbidden`, `NotFound`, `Unreachable`.
        """
        sender, target, signed = read_exchange(event, room_id)
        if server_of(target) != origin:
            raise Forbidden("A server may ask for invites of its own users only")
        if server_of(sender) != self._server_name:
            raise Forbidden(f"{sender} is not a user of this server")
        check_proof(signed, target)
        room = await self._live.get(room_id)
        async with room.lock:
            offer = await self._offer(room, signed)
            membership = await self._membership(room, target)
        await self._check_keys(vouching_keys(signed, offer.content))
        if membership in HERE:
            return
        invite = NewEvent(sender, MEMBER, build_content(offer, signed), target)
        await self._remote.invite(room_id, invite)

    async def _make(self, user_id: UserId, invite: PendingInvite) -> MatrixError | None:
        """Make an invite; what went wrong."""
        try:
            await self._invitations.check_invite(invite.sender, user_id)
            room = await self._names.rooms.find(invite.room_id)
            if room is not None and await is_held_here(self._db, room.room_nid):
                await self._invite(invite.room_id, invite.sender, user_id, invite.signed)
            else:
                content = build_content(None, invite.signed)
                new = NewEvent(invite.sender, MEMBER, content, user_id)
                await self._remote.exchange(invite.room_id, new)
        except MatrixError as error:
            log.warning("No invite to %s for %s: %s", invite.room_id, user_id, error)
            return error
        return None

    async def _invite(
        self, room_id: RoomId, sender: UserId, target: UserId, signed: Mapping[str, Any]
    ) -> None:
        async def decide(room: LiveRoom) -> NewEvent | EventId:
            place = member_place(target)
            await self._live.load_entries(room, (place,))
            current = room.state[place]
            if current is not None and current.pdu.content.get("membership") in HERE:
                return current.pdu.event_id
            content = build_content(await self._offer(room, signed), signed)
            return NewEvent(sender, MEMBER, content, target)

        is_relayed = server_of(sender) != self._server_name
        await self._send.decide_and_send(room_id, decide, is_relayed=is_relayed)

    async def _offer(self, room: LiveRoom, signed: Mapping[str, Any]) -> Pdu:
        """The offer with the proof's token; hold the room's lock. Raises `Forbidden`."""
        place = (OFFER, str(signed.get("token")))
        await self._live.load_entries(room, (place,))
        entry = room.state[place]
        if entry is None:
            raise Forbidden("No third-party invite has this token")
        return entry.pdu

    async def _membership(self, room: LiveRoom, user_id: UserId) -> str | None:
        place = member_place(user_id)
        await self._live.load_entries(room, (place,))
        entry = room.state[place]
        return None if entry is None else entry.pdu.content.get("membership")

    async def _check_keys(self, keys: Sequence[OfferKey]) -> None:
        """Raise `Forbidden` unless one of the keys that signed still counts."""
        for key in keys:
            if key.validity_url is None:
                return
            if await self._keys.is_valid(key.validity_url, key.public_key):
                return
        raise Forbidden("No valid key of the third-party invite signed the proof")


def check_proof(signed: Mapping[str, Any], user_id: UserId) -> None:
    """Raise `Forbidden` for a proof that is of somebody else."""
    if signed.get("mxid") != user_id or not isinstance(signed.get("token"), str):
        raise Forbidden(f"The proof is not one of {user_id}")


def build_content(offer: Pdu | None, signed: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an invite by an offer; where the offer is unknown, its name is left empty."""
    name = offer.content.get("display_name") if offer is not None else None
    invite = {"display_name": name if isinstance(name, str) else "", "signed": dict(signed)}
    return {"membership": "invite", "third_party_invite": invite}


def read_exchange(
    event: Mapping[str, Any], room_id: RoomId
) -> tuple[UserId, UserId, Mapping[str, Any]]:
    """Sender, invited user and proof of a partial invite. Raises `InvalidParam`."""
    content, sender, target = map(event.get, ("content", "sender", "state_key"))
    invite = content.get("third_party_invite") if isinstance(content, Mapping) else None
    signed = invite.get("signed") if isinstance(invite, Mapping) else None
    if (
        event.get("type") != MEMBER
        or event.get("room_id") != room_id
        or not isinstance(content, Mapping)
        or content.get("membership") != "invite"
        or not isinstance(sender, str)
        or not isinstance(target, str)
        or not isinstance(signed, Mapping)
    ):
        raise InvalidParam("This is not an invite by a third-party invite of this room")
    return UserId(sender), UserId(target), signed
