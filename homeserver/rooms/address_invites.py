"""Inviting whoever has an e-mail address or telephone number.

An identity server knows whose the address is. Where it does not, it makes the invite wait until
somebody binds the address, and the room gets an event that says so; how that becomes an invite is
in `third_party_invites.py`.
Source: client-server API, "Third-party invites".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_events import CREATE, POWER_LEVELS, member_place
from federation.protocol.errors import Forbidden
from federation.protocol.identifiers import RoomId, UserId
from federation.protocol.power_levels import PowerLevels
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.membership import Memberships
from homeserver.rooms.ports import IdentityServers
from homeserver.rooms.send import NewEvent, Send
from homeserver.rooms.third_party_invites import OFFER

SHOWN: Mapping[str, tuple[str, str]] = {
    "room_alias": ("m.room.canonical_alias", "alias"),
    "room_avatar_url": ("m.room.avatar", "url"),
    "room_join_rules": ("m.room.join_rules", "join_rule"),
    "room_name": ("m.room.name", "name"),
}
"""What the identity server may tell the invited: its name for it, the event and the key there."""


@dataclass(frozen=True, slots=True)
class AddressInvite:
    """Whom to invite, and the identity server to ask, with the user's token there."""

    medium: str
    address: str
    identity_server: str
    access_token: str


class AddressInvites:
    """Invites by address."""

    def __init__(
        self, live: LiveRooms, send: Send, memberships: Memberships, identity: IdentityServers
    ) -> None:
        self._live = live
        self._send = send
        self._memberships = memberships
        self._identity = identity

    def check_trusted(self, invite: AddressInvite) -> None:
        """Raise `ServerNotTrusted` for an identity server that is not talked to."""
        self._identity.check_trusted(invite.identity_server)

    async def invite(
        self,
        sender: UserId,
        room_id: RoomId,
        invite: AddressInvite,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Invite whoever has the address, now or later.

        Raises `ServerNotTrusted`, `FederationError`, `Forbidden`, `NotFound`, `InviteBlocked`.
        """
        server, token = invite.identity_server, invite.access_token
        # Asked first: an identity server writes to the address, whatever the room says later.
        shown = await self._describe(sender, room_id)
        user_id = await self._identity.find_user(server, token, invite.medium, invite.address)
        if user_id is not None:
            await self._memberships.invite(sender, room_id, user_id, extra)
            return
        body = {
            **shown,
            "medium": invite.medium,
            "address": invite.address,
            "room_id": room_id,
            "sender": sender,
        }
        offer = await self._identity.store_invite(server, token, body)
        content = build_offer(server, offer)
        await self._send.send(room_id, NewEvent(sender, OFFER, content, str(offer.get("token"))))

    async def _describe(self, sender: UserId, room_id: RoomId) -> dict[str, Any]:
        """What the room is called and who invites. Raises `Forbidden`, `NotFound`."""
        room = await self._live.get(room_id)
        own = member_place(sender)
        named = {event_type: (event_type, "") for event_type, _ in SHOWN.values()}
        async with room.lock:
            await self._live.load_entries(room, (CREATE, POWER_LEVELS, own, *named.values()))
            check_may_invite(room, sender)
            found = {
                name: content_at(room, named[event_type]).get(key)
                for name, (event_type, key) in SHOWN.items()
            }
            found["room_type"] = content_at(room, CREATE).get("type")
            found["sender_display_name"] = content_at(room, own).get("displayname")
            found["sender_avatar_url"] = content_at(room, own).get("avatar_url")
        return {name: value for name, value in found.items() if isinstance(value, str)}


def check_may_invite(room: LiveRoom, sender: UserId) -> None:
    """Raise `Forbidden` for somebody who may not invite; hold the room's lock."""
    if content_at(room, member_place(sender)).get("membership") != "join":
        raise Forbidden("You are not in the room")
    create, levels = room.state[CREATE], room.state[POWER_LEVELS]
    if create is None:
        raise Forbidden("The room has no create event")
    power = PowerLevels(levels.pdu.content if levels is not None else None, create.pdu)
    if power.of(sender) < power.invite:
        raise Forbidden("You may not invite anybody to the room")


def content_at(room: LiveRoom, place: tuple[str, str]) -> Mapping[str, Any]:
    """The content of the state event at a place that was loaded; empty where there is none."""
    entry = room.state[place]
    return {} if entry is None else entry.pdu.content


def build_offer(server: str, offer: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `m.room.third_party_invite`, from the answer of the identity server."""
    validity_url = f"https://{server}/_matrix/identity/v2/pubkey/isvalid"
    listed = offer.get("public_keys")
    keys = [dict(key) for key in listed if isinstance(key, Mapping)] if listed else []
    if not keys:
        keys = [{"public_key": offer.get("public_key")}]
    for key in keys:
        key.setdefault("key_validity_url", validity_url)
    return {
        "display_name": offer.get("display_name", ""),
        "public_key": keys[0].get("public_key"),
        "key_validity_url": keys[0]["key_validity_url"],
        "public_keys": keys,
    }
