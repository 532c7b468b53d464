"""Notices of the server: messages from an administrator to a user, in a room of their own.

Source: client-server API, "Server Notices".
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import BadState, InvalidParam, Unknown, UserInUse
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId, localpart_of
from federation.protocol.room_versions import get_room_version
from homeserver.config.sections.server_notices import notices_sender
from homeserver.config.settings import Settings
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.membership import Joiner, Memberships
from homeserver.rooms.presets import PRESETS, RoomRequest, StateEvent
from homeserver.rooms.send import NewEvent, Send
from homeserver.users.account_data import AccountData
from homeserver.users.accounts import Accounts
from homeserver.users.profiles import Profiles
from storage.accounts import Account
from storage.add_events import Transaction
from storage.changes import Membership
from storage.database import Database
from storage.memberships import find_membership
from storage.names import Names
from storage.profiles import AVATAR_URL, DISPLAYNAME
from storage.server_notices import find_notice_room, keep_notice_room

TAG = "m.server_notice"
MESSAGE = "m.room.message"
READERS_LEVEL = -10
"""The level of users in their rooms: they read."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a user is to be told; with a `state_key` it is state of the room."""

    target: UserId
    content: Mapping[str, Any]
    type: str = MESSAGE
    state_key: str | None = None


class Notices:
    """Sends notices."""

    def __init__(
        self,
        *,
        db: Database,
        names: Names,
        settings: Settings,
        creation: RoomCreation,
        memberships: Memberships,
        send: Send,
        accounts: Accounts,
        profiles: Profiles,
        account_data: AccountData,
    ) -> None:
        self._db = db
        self._names = names
        self._settings = settings.server_notices
        self._room_version = get_room_version(settings.rooms.default_version)
        self._sender = notices_sender(settings.server_notices, ServerName(settings.server.name))
        self._creation = creation
        self._memberships = memberships
        self._send = send
        self._accounts = accounts
        self._profiles = profiles
        self._account_data = account_data
        self._making = asyncio.Lock()

    async def send(self, notice: Notice, transaction: Transaction | None) -> EventId:
        """Send a notice; the same transaction again answers the first event.

        Raises `Unknown` (notices are off), `InvalidParam` (another server's user), `NotFound`,
        `BadState` (somebody uses the sender's account), `InviteBlocked`, `TooLarge`, `BadJson`.
        """
        if self._sender is None:
            raise Unknown("Server notices are not enabled on this server")
        sent = await self._send.find_sent(transaction) if transaction is not None else None
        if sent is not None:
            return sent
        if not self._accounts.is_ours(notice.target):
            raise InvalidParam("Notices can be sent to users of this server only")
        target = await self._accounts.get(notice.target)
        async with self._making:
            await self._make_sender(self._sender)
            room_nid, room_id = await self._room(self._sender, target)
        await self._bring_in(self._sender, target, room_nid, room_id)
        event = NewEvent(self._sender, notice.type, notice.content, notice.state_key)
        return await self._send.send(room_id, event, cause=transaction)

    async def _make_sender(self, sender: UserId) -> None:
        """See to it that the sender is there and looks as configured. Raises `BadState`."""
        account = await self._accounts.find(sender)
        if account is None:
            try:
                user_nid = (await self._accounts.create_user(localpart_of(sender), None)).user_nid
            except UserInUse as error:
                raise BadState(f"{sender} was registered just now") from error
        elif account.password_hash is not None or account.is_deactivated or account.appservice_id:
            raise BadState(f"{sender} is somebody's account and cannot send notices")
        else:
            user_nid = account.user_nid
        shown = {DISPLAYNAME: self._settings.display_name, AVATAR_URL: self._settings.avatar_url}
        for name, value in shown.items():
            await self._profiles.set_field(sender, user_nid, name, value)

    async def _room(self, sender: UserId, target: Account) -> tuple[int, RoomId]:
        """The user's room, made if it has to be."""
        room_nid = await find_notice_room(self._db, target.user_nid)
        if room_nid is None:
            room_id = await self._creation.create(
                sender, self._request(), self._room_version, is_admin=True
            )
            room = await self._names.rooms.find(room_id)
            if room is None:
                raise LookupError(f"{room_id} was made just now")
            room_nid = await keep_notice_room(self._db, target.user_nid, room.room_nid)
        return room_nid, (await self._names.rooms.get_many((room_nid,)))[room_nid].room_id

    def _request(self) -> RoomRequest:
        avatar = self._settings.avatar_url
        pictures = (StateEvent("m.room.avatar", "", {"url": avatar}),) if avatar else ()
        return RoomRequest(
            preset=PRESETS["private_chat"],
            name=self._settings.room_name,
            topic=self._settings.room_topic or None,
            creation_content={"m.federate": False},
            initial_state=pictures,
            power_levels={"users_default": READERS_LEVEL},
            is_of_the_server=True,
        )

    async def _bring_in(
        self, sender: UserId, target: Account, room_nid: int, room_id: RoomId
    ) -> None:
        """Tag the room, and invite the user who is not in it, or no more."""
        await self._account_data.set_tag(target.user_nid, room_nid, TAG, {})
        membership = await find_membership(self._db, target.user_nid, room_nid)
        if membership is Membership.JOIN:
            return
        if membership is not Membership.INVITE:
            await self._memberships.invite(sender, room_id, target.user_id)
        if self._settings.auto_join:
            await self._memberships.join(Joiner(target.user_id), room_id)
